"""The stock: goods set aside for an order."""

from activities.effect import Body, effect


class Item(Body):
    """So many pieces of one article."""

    sku: str
    quantity: int


class Reservation(Body):
    """Goods to set aside."""

    lines: list[Item]


class Release(Body):
    """Puts back whatever the reservation that it undoes has set aside."""


reserve = effect("inventory.reserve", Reservation)
release = effect("inventory.release", Release)
