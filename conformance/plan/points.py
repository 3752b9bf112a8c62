"""Points: the boundaries that an instance crosses on its path, as the dry runs showed them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from conformance.plan.contract import WorkflowPath

Depth = Literal["kinds", "states", "paths"]
"""How much of what paths have in common is judged: every kind of point of a workflow once, every
point in every state that an instance can be in there, or every point of every path."""


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
        """Whether a caller waits for an answer while it is held, and gives up after a while."""
        return self.name.startswith(("effect:", "start:", "event:"))


@dataclass(frozen=True)
class MeasuredPath:
    """A path and the points that it crosses, in order."""

    path: WorkflowPath
    points: tuple[Point, ...]
    unstable: tuple[str, ...]

    @property
    def effects(self) -> list[Point]:
        """The points just before each effect whose request the witness decided on."""
        decided = {point.name for point in self.points}
        return [
            point
            for point in self.points
            if point.boundary == "before" and f"{point.name.removesuffix('before')}after" in decided
        ]


def distinct(measured: Sequence[MeasuredPath], depth: Depth) -> list[MeasuredPath]:
    """The same paths, each without the points that one before it stands for.

    Paths of a workflow have a beginning in common. Until they part, an instance of one is in the
    state (`Point.before`) that an instance of the other is in at the same point: one fault there
    judges both. A point of the same `Point.kind` in another state is judged again with the depth
    `states`, and not with `kinds`.
    """
    known: set[tuple[object, ...]] = set()
    parted = []
    for each in measured:
        own = []
        for point in each.points:
            state = (point.name, point.label, point.before) if depth == "states" else point.kind
            if depth == "paths" or (each.path.workflow, *state) not in known:
                known.add((each.path.workflow, *state))
                own.append(point)
        parted.append(replace(each, points=tuple(own)))
    return parted
