"""Every side effect of every workflow, by the name that workflows call it."""

from __future__ import annotations

from activities import carrier, inventory, notifier, payment, record
from activities.effect import Activity

ACTIVITIES: dict[str, Activity] = {
    "payment.charge": payment.charge,
    "payment.refund": payment.refund,
    "inventory.reserve": inventory.reserve,
    "inventory.release": inventory.release,
    "carrier.create_shipment": carrier.create_shipment,
    "carrier.cancel_shipment": carrier.cancel_shipment,
    "notifier.send": notifier.send,
    "record.begin": record.begin,
    "record.turn": record.turn,
    "record.take": record.take,
    "record.open_intervention": record.open_intervention,
    "record.read_resolution": record.read_resolution,
    "record.end": record.end,
}
