"""Runs that were recorded on the real runtime are runs of the simulation too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app import replay
from simulation.schedule import Call, People, Schedule, Script
from simulation.world import simulate
from tests.support.record_histories import FOLDER, PATHS, RETRY
from tests.support.shop import order

SCRIPTS: dict[str, tuple[str, dict[str, Any]]] = {
    "waiting": (
        "carrier.create_shipment",
        {"callbacks": {"carrier.picked_up": {"never": True}}},
    ),
    "too-late": ("carrier.cancel_shipment", {"delay": 2}),
    "undo-failed": ("inventory.release", {"status": 500}),
}


def calls_of(path: Path) -> list[tuple[str, str]]:
    found = []
    for event in replay.load(path):
        if event.HasField("taskScheduled"):
            message = json.loads(event.taskScheduled.input.value or "{}")
            found.append((event.taskScheduled.name, message.get("key", "")))
    return found


def again(name: str, path: str, changes: dict[str, Any]) -> list[tuple[str, str]]:
    body = order(name, **changes) if path == "/orders" else {"id": name, **changes}
    start = Call(at=1.0, path=path, body={**body, "retry": RETRY})
    rules: tuple[Script, ...] = ()
    if name in SCRIPTS:
        operation, then = SCRIPTS[name]
        rule = {"match": {"operation": operation, "instance": name}, "then": then}
        rules = (Script(rule=rule),)
    unanswered = People(answer=None)
    result = simulate(
        Schedule(calls=(start,), disturbances=rules, people=unanswered, replicas=1, until=60)
    )
    return result.calls[name]


def without_polls(calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """How often it is asked depends on the machine, not on the path."""
    return [call for n, call in enumerate(calls) if ".poll_" not in call[0] or call != calls[n - 1]]


@pytest.mark.parametrize(
    ("name", "path", "changes"),
    [(one[0], one[1], one[2]) for one in PATHS],
    ids=lambda it: str(it)[:20],
)
def test_the_simulation_makes_the_recorded_calls(
    name: str, path: str, changes: dict[str, Any]
) -> None:
    recorded = without_polls(calls_of(FOLDER / f"{name}.json"))
    simulated = without_polls(again(name, path, changes))
    # What was recorded may have been recorded on its way.
    assert simulated[: len(recorded)] == recorded
