"""The sagas as tables, for tests that go through every step of every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.shop import Shop, order, until

QUICK = {"attempts": 2, "first": 0.1, "cap": 0.2, "undo_for": 0}


@dataclass(frozen=True)
class Table:
    """Steps in order, each with its undo ("" where it has none)."""

    path: str
    steps: dict[str, str]
    done: str
    undone: str
    refused: str
    told: tuple[str, ...] = ()
    between: tuple[str, ...] = ()  # letters on the way, once every step is done
    asks: bool = False  # a step that fails for good waits for a person instead of turning down

    def undos_of(self, done: list[str]) -> list[str]:
        return [self.steps[name] for name in reversed(done) if self.steps[name]]

    def before(self, step: str) -> list[str]:
        names = list(self.steps)
        return names[: names.index(step)]

    def body(self, id: str) -> dict[str, Any]:
        return BODIES[self.path](id)


def task(id: str) -> dict[str, Any]:
    return {"id": id, "title": "count the stock", "assignee": "p-3", "retry": QUICK}


def deployment(id: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "model": f"model-of-{id}",
        "version": "v2",
        "dataset": "d-1",
        "poll_interval": 0.2,
        "heartbeat_timeout": 2,
        "retry": {"attempts": 5, "first": 0.05, "cap": 0.1, "undo_for": 0},
        **changes,
    }


def document(id: str) -> dict[str, Any]:
    return {"id": id, "title": "lease", "requester": "c-17", "signers": ["s-1"], "retry": QUICK}


BODIES = {
    "/orders": lambda id: order(id, retry=QUICK),
    "/tasks": task,
    "/deployments": deployment,
    "/documents": document,
}

SAGAS = (
    Table(
        "/orders",
        {"charge": "refund", "reserve": "release", "create_shipment": "cancel_shipment"},
        done="FULFILLED",
        undone="COMPENSATED",
        refused="REFUSED",
        told=("notify",),
        between=("confirm",),
    ),
    Table(
        "/tasks",
        {
            "create_record": "delete_record",
            "reserve_capacity": "release_capacity",
            "notify": "send_cancellation",
            "update_dashboard": "mark_cancelled",
        },
        done="DONE",
        undone="COMPENSATED",
        refused="COMPENSATED",
    ),
    Table(
        "/deployments",
        {
            "generate_data": "",
            "train/1": "",
            "push_artifact": "delete_artifact",
            "create_config": "delete_config",
            "authorize": "restore_version",
            "check_canary": "",
        },
        done="READY",
        undone="ROLLED_BACK",
        refused="ROLLED_BACK",
        asks=True,
    ),
)


def stay(then: dict[str, Any], step: str) -> dict[str, Any]:
    """A script for a step after which the parcel stays: nothing is too late to be undone."""
    never = {"warehouse.picked": {"never": True}}
    return {**then, "callbacks": never} if step == "create_shipment" else then


def effect_keys(shop: Shop, id: str) -> list[str]:
    """What stands in the ledger for an instance, by step, without alerts to people."""
    keys = [effect["key"].removeprefix(f"{id}/") for effect in shop.ledger(id)["effects"]]
    return [key for key in keys if not key.endswith("/alert")]


def assert_effects(shop: Shop, id: str, expected: list[str]) -> None:
    """The ledger shows exactly this, in this order; a submitted training settles a little later."""
    try:
        until(lambda: effect_keys(shop, id) == expected, 5, "the effects")
    except AssertionError:
        assert effect_keys(shop, id) == expected, shop.look(id)
