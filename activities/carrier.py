"""The carrier: a shipment, which can be cancelled until the parcel has left."""

from activities.effect import Body, effect
from activities.inventory import Item


class Shipment(Body):
    """Where the parcel goes and what is in it."""

    ship_to: dict[str, str]
    lines: list[Item]


class Cancellation(Body):
    """Cancels the shipment that it undoes; `too_late` once the parcel has left."""


create_shipment = effect("carrier.create_shipment", Shipment)
cancel_shipment = effect("carrier.cancel_shipment", Cancellation)
