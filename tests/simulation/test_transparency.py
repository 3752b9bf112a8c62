"""Without disturbances, each workflow ends as it should, with the durations it has by default."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from simulation.result import Result
from simulation.schedule import DAY, HOUR, Call, Schedule
from simulation.world import simulate
from tests.simulation import starts
from tests.simulation.starts import LEASE, MODEL, PRESS, TASK, WATCH, an_order, decided, signed

STOP = Call(at=20 * DAY, path="/workflows/mon-1/cancel", subject="op", roles=("operator",))


def everything() -> Schedule:
    return Schedule(
        calls=(
            an_order(),
            starts.start("/tasks", "task-1", TASK),
            starts.start("/deployments", "dep-1", MODEL),
            starts.start("/approvals", "app-1", PRESS),
            starts.start("/approvals", "app-2", PRESS),
            starts.start("/documents", "doc-1", LEASE),
            starts.start("/documents", "doc-2", LEASE),
            decided("app-1", 50 * HOUR, role="director"),
            signed("doc-1", "s-2", 9 * DAY),
            signed("doc-1", "s-1", 16 * DAY),
        )
    )


def ends(result: Result) -> dict[str, str]:
    return {id: record["outcome"] for id, record in result.records.items()}


def test_all_workflows_end_as_they_should_with_default_durations() -> None:
    result = simulate(everything())
    assert ends(result) == {
        "order-1": "FULFILLED",
        "task-1": "DONE",
        "dep-1": "READY",
        "app-1": "APPROVED",
        "app-2": "TIMED_OUT",
        "doc-1": "SIGNED",
        "doc-2": "EXPIRED",
    }
    assert result.settled
    assert result.interventions == []
    assert result.errors == []
    assert result.counts["started"] == 7


def test_a_monitor_checks_every_hour_until_it_is_told_to_stop() -> None:
    stop = STOP.model_copy(update={"at": 2 * DAY})
    result = simulate(Schedule(calls=(starts.start("/monitors", "mon-1", WATCH), stop)))
    checks = [name for name, _ in result.calls["mon-1"] if name == "health.check"]
    assert 47 <= len(checks) <= 50
    assert result.records["mon-1"]["status"] == "ENDED"
    assert result.errors == []


def test_another_seed_is_another_order_of_things() -> None:
    first, second = (simulate(starts.one_order(seed=seed)) for seed in (1, 2))
    assert first.log != second.log
    assert ends(first) == ends(second)


CHILD = """
import hashlib, json, sys
from simulation.schedule import Schedule
from simulation.world import simulate
result = simulate(Schedule.model_validate_json(sys.stdin.read()))
print(json.dumps([result.log, result.attempts, result.records, dict(result.counts)]))
"""


@pytest.mark.parametrize("kind", ["pause", "crash"])
def test_one_schedule_is_one_log_byte_for_byte(kind: str) -> None:
    schedule = everything().model_copy(update={"seed": 7})
    body = json.loads(schedule.model_dump_json())
    crash = {"kind": kind, "replica": 1, "point": "statement", "nth": 40}
    body["disturbances"] = [crash, {"kind": "wedge", "at": 2.0}]
    said = [
        subprocess.run(
            [sys.executable, "-c", CHILD],
            input=json.dumps(body),
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
