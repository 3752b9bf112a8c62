"""Runs what was chosen, in batches that the target can hold."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from conformance.clusters import ClusterError
from conformance.events import Judged, Note
from conformance.judge.verdict import unknown
from conformance.plan.contract import WorkflowPath
from conformance.plan.scenario import Fault, Scenario
from conformance.run import batch
from conformance.run.context import RunContext

TRIES = 3  # times that a scenario is sent to its point before it is unknown
SMALLEST = 20  # instances of a batch, however little a target can hold


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
    context: RunContext,
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
            # What was tried before goes last, with room of its own.
            now, todo = _next(todo, size)
            last_try = now[0][1] >= TRIES
            try:
                result = await batch.run(
                    context, [scenario for scenario, _ in now], named, last_try=last_try
                )
            except ClusterError as error:
                lost = [scenario for scenario, _ in [*now, *todo]]
                score.judged += [_lost(context, each, error) for each in lost]
                raise
            score.judged += result.judged
            if len(now) > SMALLEST and len(result.deferred) > len(now) / 4:
                size = max(SMALLEST, len(now) - len(result.deferred))
                text = f"the target holds about {size} steps at once: batches are split"
                context.emit(Note(kind="split", text=text))
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


def _lost(context: RunContext, scenario: Scenario, error: ClusterError) -> Judged:
    reason = f"the cluster was lost: {error}"
    verdict = unknown(scenario, reason, batch="lost", repeat=context.repeat, mutant=context.mutant)
    context.emit(verdict)
    return verdict


def hurried(paths: Iterable[WorkflowPath], settles: float) -> list[WorkflowPath]:
    """The same paths with less patience, for applications that are known to be broken."""
    return [replace(path, settles=min(path.settles, settles)) for path in paths]
