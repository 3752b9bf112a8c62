"""A run as its reports need it: the events of a log, put where they belong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from conformance.events import (
    BatchEnded,
    BatchStarted,
    Event,
    FaultFired,
    Judged,
    MutantJudged,
    Note,
    PathMeasured,
    RunEnded,
    RunStarted,
)

SEVERITY = {"pass": 0, "unknown": 1, "fail": 2}


class Place(NamedTuple):
    """What makes a scenario distinct."""

    path: str
    point: str
    victim: str
    fault: str


@dataclass
class BatchSummary:
    """What is known of a batch; of one that was cut off, only its beginning."""

    started: BatchStarted
    fired: FaultFired | None = None
    ended: BatchEnded | None = None
    judged: int = 0
    hit: int = 0

    def count(self, judged: Judged) -> None:
        """Takes a verdict of this batch into its sums."""
        self.judged += 1
        self.hit += judged.fired


@dataclass
class Run:
    """Everything that a log tells. Verdicts on mutants stand apart from those on the target."""

    started: RunStarted | None = None
    ended: RunEnded | None = None
    last: float = 0.0
    notes: list[Note] = field(default_factory=list)
    measured: dict[str, PathMeasured] = field(default_factory=dict)
    batches: dict[tuple[str | None, str], BatchSummary] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    mutants: list[MutantJudged] = field(default_factory=list)
    of_mutants: dict[str, list[Judged]] = field(default_factory=dict)

    def scenarios(self) -> dict[Place, list[Judged]]:
        """The verdicts on each distinct scenario of the target, the worst first."""
        found: dict[Place, list[Judged]] = {}
        for each in self.judged:
            found.setdefault(Place(each.path, each.point, each.victim, each.fault), []).append(each)
        for verdicts in found.values():
            verdicts.sort(key=lambda each: -SEVERITY[each.verdict])
        return found

    def columns(self) -> list[tuple[str, str]]:
        """Every victim and fault as they came, the faults of a victim together."""
        seen = dict.fromkeys((each.victim, each.fault) for each in self.judged)
        order = list(dict.fromkeys(victim for victim, _ in seen))
        return sorted(seen, key=lambda each: order.index(each[0]))

    @property
    def seconds(self) -> float:
        """How long the run took, or has been going on."""
        if self.ended is not None:
            return self.ended.seconds
        return max(0.0, self.last - self.started.at) if self.started else 0.0


def gather(events: Iterable[Event]) -> Run:
    """Puts the events of one log together.

    Where only a mutant was run, and not to see whether it is caught, it is the target.
    """
    run = Run()
    running: dict[str, BatchSummary] = {}
    for event in events:
        run.last = max(run.last, event.at)
        match event:
            case RunStarted():
                run.started = run.started or event
            case RunEnded():
                run.ended = event
            case Note():
                run.notes.append(event)
            case PathMeasured(mutant=None):
                run.measured[event.path] = event
            case BatchStarted():
                running[event.batch] = BatchSummary(event)
                run.batches[event.mutant, event.batch] = running[event.batch]
            case FaultFired() if event.batch in running:
                running[event.batch].fired = event
            case BatchEnded() if event.batch in running:
                running[event.batch].ended = event
            case Judged():
                _take(run, event, running.get(event.batch))
            case MutantJudged():
                run.mutants.append(event)
    if not run.judged and not run.mutants:
        run.judged = [each for judged in run.of_mutants.values() for each in judged]
    return run


def _take(run: Run, judged: Judged, batch: BatchSummary | None) -> None:
    if batch is not None:
        batch.count(judged)
    if judged.mutant is None:
        run.judged.append(judged)
    else:
        run.of_mutants.setdefault(judged.mutant, []).append(judged)
