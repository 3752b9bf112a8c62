"""Points x victims x faults: what is to be judged, in batches that the target can hold."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from conformance import batch
from conformance.aims import points_for
from conformance.batch import Bench
from conformance.clusters import VICTIMS, ClusterError
from conformance.contract import WorkflowPath
from conformance.events import Judged, Note
from conformance.points import Course, distinct
from conformance.scenario import DUPLICATE, OUTAGES, Depth, Fault, Scenario

TRIES = 3  # times that a scenario is sent to its point before it is unknown
SMALLEST = 20  # instances of a batch, however little a target can hold


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

    def scenarios(self, courses: Sequence[Course]) -> Mapping[Fault, list[Scenario]]:
        """The chosen scenarios, by their fault."""
        chosen = {}
        wanted = [course for course in courses if any_of(course.path.name, self.paths)]
        parted = distinct(wanted, self.depth)
        for fault in self.faults:
            found = [
                scenario
                for course in parted
                for point in points_for(course, fault)
                if any_of(point.name, self.points)
                for scenario in [Scenario(course.path.name, point, fault)]
                if (not self.only or str(scenario) in self.only) and str(scenario) not in self.done
            ]
            if found:
                chosen[fault] = found
        return chosen


def matrix() -> tuple[Fault, ...]:
    """Every victim with every fault of the matrix."""
    return tuple(Fault(victim, kind) for victim in VICTIMS for kind in ("kill", "pause", "cut"))


def everything() -> tuple[Fault, ...]:
    """The matrix, graceful stops, duplicates and outages."""
    stops = tuple(Fault(victim, "stop") for victim in VICTIMS)
    return (*matrix(), *stops, DUPLICATE, *(Fault("witness", outage) for outage in OUTAGES))


@dataclass
class Score:
    """What has been judged."""

    judged: list[Judged] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def count(self, verdict: str) -> int:
        """How many have this verdict."""
        return sum(each.verdict == verdict for each in self.judged)

    @property
    def exit(self) -> int:
        """0 all passed, 1 a promise was broken, 2 unknown; nothing judged is unknown too."""
        if self.count("fail"):
            return 1
        return 2 if self.count("unknown") or not self.judged else 0


async def run(
    bench: Bench,
    chosen: Mapping[Fault, Sequence[Scenario]],
    paths: Iterable[WorkflowPath],
    size: int,
) -> Score:
    """Judges everything that was chosen, at most `size` instances at a time.

    Raises:
        ClusterError: the cluster is lost; what it was about is judged unknown first.
    """
    score = Score()
    named = {path.name: path for path in paths}
    for scenarios in chosen.values():
        todo = [(scenario, 1) for scenario in scenarios]
        while todo:
            # Whoever has tried before goes last, with room of its own.
            now, todo = _next(todo, size)
            last_try = now[0][1] >= TRIES
            try:
                result = await batch.run(
                    bench, [scenario for scenario, _ in now], named, last_try=last_try
                )
            except ClusterError as error:
                lost = [scenario for scenario, _ in [*now, *todo]]
                score.judged += [_lost(bench, each, named, str(error)) for each in lost]
                raise
            score.judged += result.judged
            if len(now) > SMALLEST and len(result.deferred) > len(now) / 4:
                size = max(SMALLEST, len(now) - len(result.deferred))
                text = f"the target holds about {size} steps at once: batches are split"
                bench.emit(Note(kind="split", text=text))
            tries = {str(scenario): count for scenario, count in now}
            todo += [(each, tries[str(each)] + 1) for each in result.deferred]
    return score


def _next(
    todo: list[tuple[Scenario, int]], size: int
) -> tuple[list[tuple[Scenario, int]], list[tuple[Scenario, int]]]:
    tries = todo[0][1]
    alike = [each for each in todo if each[1] == tries]
    # Equal parts: a last batch of three costs as much time as one of three hundred.
    parts = -(-len(alike) // size)
    now = alike[: -(-len(alike) // parts)]
    return now, [each for each in todo if each not in now]


def _lost(
    bench: Bench, scenario: Scenario, named: Mapping[str, WorkflowPath], reason: str
) -> Judged:
    verdict = Judged(
        batch="lost",
        scenario=str(scenario),
        path=scenario.path,
        workflow=named[scenario.path].workflow,
        point=scenario.point.name,
        label=scenario.point.label,
        boundary=scenario.point.boundary,
        victim=scenario.fault.victim,
        fault=scenario.fault.kind,
        instance="",
        verdict="unknown",
        fired=False,
        seconds=0.0,
        reason=f"the cluster was lost: {reason}",
        repeat=f"{bench.repeat} --only '{scenario}'",
        mutant=bench.mutant,
    )
    bench.emit(verdict)
    return verdict


def hurried(paths: Iterable[WorkflowPath], settles: float) -> list[WorkflowPath]:
    """The same paths with less patience, for applications that are known to be broken."""
    return [replace(path, settles=min(path.settles, settles)) for path in paths]


def any_of(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of these patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
