"""A path, its points and what is seen of an instance on it, for tests that need no runtime."""

from __future__ import annotations

from typing import Any

from conformance.judge.evidence import Answer, Evidence
from conformance.plan.contract import Ending, Request, StatusProbe, WorkflowPath
from conformance.plan.points import MeasuredPath, Point
from conformance.plan.scenario import Fault

KILL = Fault("app", "kill")
LOST = Fault("witness", "lost")


def a_path(name: str = "order/done", **changes: Any) -> WorkflowPath:
    given: dict[str, Any] = {
        "name": name,
        "summary": "",
        "workflow": name.partition("/")[0],
        "start": Request(url="{app}/orders"),
        "look": StatusProbe(url="{app}/{id}", ended={"/status": "ENDED"}, outcome="/outcome"),
        "alerts": (),
        "script": (),
        "signals": (),
        "endings": (Ending(outcome="DONE", effects=("bank.debit",)),),
        "settles": 60.0,
    }
    return WorkflowPath(**{**given, **changes})


def measured(names: str, path: WorkflowPath | None = None) -> MeasuredPath:
    return MeasuredPath(path or a_path(), tuple(Point(name, name) for name in names.split()), ())


TURNS = "turn:1:dispatch turn:1:completion"
EFFECT = "effect:bank.debit:1:before effect:bank.debit:1:after"


def evidence(path: WorkflowPath | None = None, **changes: Any) -> Evidence:
    """An instance that has ended as its path's first ending says, without any effect."""
    path = path or a_path()
    outcome = path.endings[0].outcome
    given: dict[str, Any] = {
        "instance": "o",
        "path": path,
        "attempts": [],
        "effects": [],
        "answers": [Answer(0.0, "start", 202)],
        "status": {"status": "ENDED", "outcome": outcome},
        "missing": False,
        "ended": True,
        "outcome": outcome,
        "engine": "COMPLETED",
        "turns": 3,
        "idle": False,
        "seconds": 1.0,
        "deadline": 60.0,
        "fault": "app:kill",
        "point": "turn:1:dispatch",
    }
    return Evidence(**{**given, **changes})
