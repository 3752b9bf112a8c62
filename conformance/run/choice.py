"""Points x victims x faults: what of everything possible is wanted."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance import faults
from conformance.plan.points import Depth, MeasuredPath, distinct
from conformance.plan.scenario import Fault, Scenario


@dataclass(frozen=True)
class Choice:
    """What of everything possible is wanted; patterns are those of a shell (`*`, `?`).

    `done` are scenarios that an earlier run has judged.
    """

    faults: tuple[Fault, ...]
    paths: tuple[str, ...] = ("*",)
    points: tuple[str, ...] = ("*",)
    only: frozenset[str] = frozenset()
    depth: Depth = "states"
    done: frozenset[str] = frozenset()

    def scenarios(self, measured: Sequence[MeasuredPath]) -> Mapping[Fault, list[Scenario]]:
        """The chosen scenarios, by their fault."""
        chosen = {}
        wanted = [each for each in measured if any_of(each.path.name, self.paths)]
        parted = distinct(wanted, self.depth)
        for fault in self.faults:
            found = [
                scenario
                for path in parted
                for point in faults.kind_of(fault).points(path)
                if any_of(point.name, self.points)
                for scenario in [Scenario(path.path.name, point, fault)]
                if (not self.only or str(scenario) in self.only) and str(scenario) not in self.done
            ]
            if found:
                chosen[fault] = found
        return chosen


def any_of(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of these patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
