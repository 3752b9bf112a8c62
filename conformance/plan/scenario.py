"""What is judged: a point on a path, and the one fault that hits an instance there."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.clusters import VICTIMS
from conformance.plan.points import Point

PROCESS_FAULTS = ("kill", "pause", "cut", "stop")
OUTAGES = ("refused", "5xx", "timeout", "lost", "slow")


class ScenarioError(ValueError):
    """A scenario that cannot be read; the message says how one is written."""


@dataclass(frozen=True)
class Fault:
    """What happens. `victim` is a process, the `message` itself, the `witness`, or `nobody`."""

    victim: str
    kind: str

    def __str__(self) -> str:
        return f"{self.victim}:{self.kind}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Reads `app:kill`, `duplicate`, `outage:lost` or `none`.

        Raises:
            ScenarioError: it is none of these.
        """
        victim, _, kind = text.partition(":")
        if victim in VICTIMS and kind in PROCESS_FAULTS:
            return cls(victim, kind)
        if text in ("duplicate", "message:duplicate"):
            return DUPLICATE
        if victim in ("outage", "witness") and kind in OUTAGES:
            return cls("witness", kind)
        if text in ("none", "nobody:none"):
            return NOTHING
        processes = f"{{{','.join(VICTIMS)}}}:{{{','.join(PROCESS_FAULTS)}}}"
        outages = f"outage:{{{','.join(OUTAGES)}}}"
        raise ScenarioError(f"{text} is no fault: {processes}, duplicate, {outages}, none")


DUPLICATE = Fault("message", "duplicate")
NOTHING = Fault("nobody", "none")


@dataclass(frozen=True)
class Scenario:
    """A path, a point of it, and a fault; written `path@point!victim:fault`."""

    path: str
    point: Point
    fault: Fault

    def __str__(self) -> str:
        return f"{self.path}@{self.point.name}!{self.fault}"

    @property
    def workflow(self) -> str:
        """The workflow that the path belongs to."""
        return self.path.partition("/")[0]


def parse(text: str) -> tuple[str, str, Fault]:
    """Path, point and fault of a scenario as it is written.

    Raises:
        ScenarioError: it is not written so.
    """
    path, at, rest = text.partition("@")
    point, bang, fault = rest.rpartition("!")
    if not (at and bang and path and point):
        raise ScenarioError(f"{text}: a scenario is written path@point!victim:fault")
    return path, point, Fault.parse(fault)
