"""What is judged: a point on a path, and the one fault that hits an instance there."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.errors import ConformanceError
from conformance.plan.points import Point


class ScenarioError(ConformanceError):
    """A scenario that cannot be read; the message says how one is written."""


@dataclass(frozen=True)
class Fault:
    """What happens to whom; written `victim:kind`, as in `app:kill`.

    `victim` is a process, the `message` itself, the `witness`, or `nobody`. The kinds are described
    in `conformance.faults`.
    """

    victim: str
    kind: str

    def __str__(self) -> str:
        return f"{self.victim}:{self.kind}"


@dataclass(frozen=True)
class Scenario:
    """A path, a point of it, and a fault; written `path@point!victim:kind`."""

    path: str
    point: Point
    fault: Fault

    def __str__(self) -> str:
        return f"{self.path}@{self.point.name}!{self.fault}"

    @property
    def workflow(self) -> str:
        """The workflow that the path belongs to."""
        return self.path.partition("/")[0]


def split(text: str) -> tuple[str, str, str]:
    """Path, point and fault of a scenario as it is written.

    Raises:
        ScenarioError: it is not written so.
    """
    path, at, rest = text.partition("@")
    point, bang, fault = rest.rpartition("!")
    if not (at and bang and path and point):
        raise ScenarioError(f"{text}: write a scenario as path@point!victim:fault")
    return path, point, fault
