"""What is judged: a point on a path, and the one fault that hits an instance there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from conformance.clusters import VICTIMS

PROCESS_FAULTS = ("kill", "pause", "cut", "stop")
OUTAGES = ("refused", "5xx", "timeout", "lost", "slow")


Depth = Literal["kinds", "states", "paths"]
"""How much of what paths have in common is judged: every kind of point of a workflow once, every
point in every state that an instance can be in there, or every point of every path."""


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
class Point:
    """A boundary that an instance crosses; named as in `gates`. `key` is that of an effect.

    In a key, `{id}` stands for the instance. The label is for people. `before` is what had happened
    until then: two paths with the same point and the same `before` have not parted yet. `after` and
    `silence` are seconds of a dry run: from its beginning to here, and the longest in which nothing
    was crossed until then.
    """

    name: str
    label: str
    key: str | None = None
    before: tuple[str, ...] = ()
    after: float = field(default=0.0, compare=False)
    silence: float = field(default=0.0, compare=False)

    @property
    def boundary(self) -> str:
        """The last part of its name: dispatch, completion, before, after, request, response."""
        return self.name.rpartition(":")[2]

    @property
    def kind(self) -> tuple[str, str, str]:
        """What is crossed, wherever on a path: a turn or an activity, its label, boundary."""
        what = self.name.partition(":")[0]
        return what, re.sub(r"^turn \d+, ", "", self.label), self.boundary

    @property
    def at_witness(self) -> bool:
        """Whether the witness holds it, and not the sidecar gate."""
        return self.name.startswith("effect:")

    @property
    def impatient(self) -> bool:
        """Whether somebody waits for an answer while it is held, and gives up after a while."""
        return self.name.startswith(("effect:", "start:", "event:"))


@dataclass(frozen=True)
class Scenario:
    """A path, a point of it, and a fault; written `path@point!victim:fault`."""

    path: str
    point: Point
    fault: Fault

    def __str__(self) -> str:
        return f"{self.path}@{self.point.name}!{self.fault}"


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
