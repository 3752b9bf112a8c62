"""Broken applications, judged: each must fail, by the promise that it is meant to break."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from conformance import faults
from conformance import mutants as known
from conformance.events import Judged, MutantJudged
from conformance.mutants import Mutant, MutantError
from conformance.plan.contract import WorkflowPath
from conformance.plan.points import MeasuredPath
from conformance.plan.scenario import Fault, Scenario
from conformance.run import matrix
from conformance.run.choice import Choice
from conformance.run.matrix import Score, hurried
from conformance.run.session import BATCH, Session

HURRY = 12.0  # seconds that a mutant has to settle: most of those that do not never will


async def judge_mutants(
    session: Session, chosen: Sequence[Mutant], known_points: Sequence[MeasuredPath] = ()
) -> tuple[Score, list[MutantJudged]]:
    """The score of the unmutated application, and the mutants that were not caught.

    Paths whose points are known already are not measured again.

    Raises:
        MutantError: a mutant names a point that its path does not cross.
    """
    names = {name for mutant in chosen for name in mutant.paths}
    paths = [path for path in session.setup.target.paths() if path.name in names]
    measured = known_points or await session.measure(paths)
    plans = {mutant.name: _scenarios(mutant, measured) for mutant in chosen}
    all_of_them: dict[Fault, dict[str, Scenario]] = {}
    for plan in plans.values():
        for fault, scenarios in plan.items():
            all_of_them.setdefault(fault, {}).update({str(each): each for each in scenarios})
    healthy = await matrix.run(
        session.context(),
        {fault: list(each.values()) for fault, each in all_of_them.items()},
        paths,
        BATCH,
    )
    missed = []
    for mutant in chosen:
        verdict = await _judge_mutant(session, mutant, plans[mutant.name], paths)
        session.emit(verdict)
        if not verdict.caught:
            missed.append(verdict)
    await asyncio.to_thread(session.cluster.replace_app, None, {})
    return healthy, missed


async def _judge_mutant(
    session: Session,
    mutant: Mutant,
    plan: Mapping[Fault, list[Scenario]],
    paths: Sequence[WorkflowPath],
) -> MutantJudged:
    await install(session, mutant)
    context = session.context(mutant.name)
    score = await matrix.run(context, plan, hurried(paths, HURRY), BATCH)
    broken: dict[str, int] = {}
    for judged in score.judged:
        for promise in judged.broken:
            broken[promise] = broken.get(promise, 0) + 1
    caught = mutant.promise in broken
    return MutantJudged(
        mutant=mutant.name,
        summary=mutant.summary,
        promise=mutant.promise,
        caught=caught,
        broken=broken,
        scenarios=len(score.judged),
        reason="" if caught else _why_missed(score.judged),
    )


def _why_missed(judged: Sequence[Judged]) -> str:
    unknown = [each.reason for each in judged if each.verdict == "unknown"]
    return unknown[0] if unknown else "every promise held"


async def install(session: Session, mutant: Mutant) -> None:
    """From now on the cluster runs what the mutant makes of the application."""
    target = session.setup.target
    into = session.folder / "mutants" / mutant.name
    known.apply(mutant, target.folder, target.app.source, into)
    await asyncio.to_thread(session.cluster.replace_app, into, {})


def _scenarios(mutant: Mutant, measured: Sequence[MeasuredPath]) -> Mapping[Fault, list[Scenario]]:
    choice = Choice(
        faults=tuple(faults.parse(text) for text in mutant.faults),
        paths=mutant.paths,
        points=mutant.points,
        depth="paths",
    )
    chosen = choice.scenarios(measured)
    if missing := [str(fault) for fault in choice.faults if fault not in chosen]:
        where = f"{', '.join(mutant.points)} on {', '.join(mutant.paths)}"
        raise MutantError(f"{mutant.name}: no such point for {', '.join(missing)}: {where}")
    return chosen


def named(name: str) -> Mutant:
    """The mutant of a name.

    Raises:
        MutantError: there is none.
    """
    for mutant in known.load():
        if mutant.name == name:
            return mutant
    raise MutantError(f"there is no mutant {name}")
