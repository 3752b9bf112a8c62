"""Every side effect of every workflow, by the name that workflows call it."""

from __future__ import annotations

from activities import (
    approval,
    carrier,
    directory,
    inventory,
    ml,
    notifier,
    payment,
    record,
    signing,
)
from activities.effect import Activity

ACTIVITIES: dict[str, Activity] = {
    "payment.charge": payment.charge,
    "payment.refund": payment.refund,
    "inventory.reserve": inventory.reserve,
    "inventory.release": inventory.release,
    "carrier.create_shipment": carrier.create_shipment,
    "carrier.cancel_shipment": carrier.cancel_shipment,
    "notifier.send": notifier.send,
    "directory.create_record": directory.create_record,
    "directory.delete_record": directory.delete_record,
    "directory.reserve_capacity": directory.reserve_capacity,
    "directory.release_capacity": directory.release_capacity,
    "directory.update_dashboard": directory.update_dashboard,
    "ml.generate_data": ml.generate_data,
    "ml.train": ml.train,
    "ml.poll_training": ml.poll_training,
    "ml.push_artifact": ml.push_artifact,
    "ml.delete_artifact": ml.delete_artifact,
    "ml.create_config": ml.create_config,
    "ml.delete_config": ml.delete_config,
    "ml.authorize": ml.authorize,
    "ml.restore_version": ml.restore_version,
    "ml.check_canary": ml.check_canary,
    "approval.ask": approval.ask,
    "approval.execute": approval.execute,
    "signing.send": signing.send,
    "signing.void": signing.void,
    "record.begin": record.begin,
    "record.turn": record.turn,
    "record.hold": record.hold,
    "record.take": record.take,
    "record.open_intervention": record.open_intervention,
    "record.read_resolution": record.read_resolution,
    "record.end": record.end,
}
