"""Delivered twice."""

from __future__ import annotations

from conformance.faults.kind import FaultKind
from conformance.plan import injection
from conformance.plan.contract import WorkflowPath
from conformance.plan.injection import Injection
from conformance.plan.points import MeasuredPath, Point

CROSSING = ("request", "dispatch", "completion")


class Duplicate(FaultKind):
    """A message comes twice: a start, a signal, a request, a turn or activity, or its answer.

    A start is sent once more when the instance has ended, too. Proven by the gate's rule, which
    fired, or by the client, which sent it again.
    """

    name = "duplicate"
    victims = ("message",)
    alias = "duplicate"

    def points(self, path: MeasuredPath) -> list[Point]:
        """What the client sends, and what crosses the gate."""
        numbers = range(1, len(path.path.signals) + 1)
        crossing = [
            point for point in path.points if not point.at_witness and point.boundary in CROSSING
        ]
        signals = [Point(f"client:signal-{n}", f"signal {n}") for n in numbers]
        return [Point("client:start", "start"), *signals, *crossing]

    def arm(self, point: Point, path: WorkflowPath, instance: str) -> Injection:
        """The client repeats itself, or the gate repeats the message."""
        if point.name.startswith("client:"):
            return injection.sent_twice(point, path, instance)
        return injection.at_gate(point, path, instance, "duplicate")
