"""Left alone."""

from __future__ import annotations

from conformance.faults.kind import FaultKind
from conformance.plan import injection
from conformance.plan.contract import WorkflowPath
from conformance.plan.injection import Injection
from conformance.plan.points import MeasuredPath, Point


class NoFault(FaultKind):
    """Nothing happens: every promise must hold all the same."""

    name = "none"
    victims = ("nobody",)
    alias = "none"
    included = "named"

    def points(self, path: MeasuredPath) -> list[Point]:
        """One instance of the path."""
        return [Point("client:start", "start")]

    def arm(self, point: Point, path: WorkflowPath, instance: str) -> Injection:
        """Lets it take its path."""
        return injection.untouched(path, instance)
