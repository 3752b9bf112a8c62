"""One container cluster for all tests that judge the application on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance import report as reports
from conformance.clusters import Stores
from conformance.events import Event, Judged, MutantJudged
from conformance.faults import parse
from conformance.mutants import load as load_mutants
from conformance.plan.points import MeasuredPath
from conformance.report.terminal import Terminal
from conformance.run import matrix
from conformance.run.choice import Choice
from conformance.run.matrix import Score
from conformance.run.mutation import judge_mutants
from conformance.run.session import BATCH, Session, Setup, ended, opened

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Judge:
    """A cluster with the application on it, and what was judged there so far."""

    runner: asyncio.Runner
    session: Session
    measured: list[MeasuredPath]
    score: Score

    def __call__(self, faults: str, *paths: str, points: tuple[str, ...] = ("*",)) -> list[Judged]:
        """Judges these points with these faults; returns all verdicts."""
        wanted = tuple(parse(text) for text in faults.split())
        chosen = Choice(wanted, paths, points, depth="paths").scenarios(self.measured)
        found = [each.path for each in self.measured]
        context = self.session.context()
        score = self.runner.run(matrix.run(context, chosen, found, BATCH))
        self.score.judged += score.judged
        return score.judged

    def mutants(self, *names: str) -> list[MutantJudged]:
        """Judges mutants and the unmutated application; returns those that were not caught."""
        chosen = [mutant for mutant in load_mutants() if mutant.name in names or not names]
        work = judge_mutants(self.session, chosen, self.measured)
        healthy, missed = self.runner.run(work)
        self.score.judged += healthy.judged
        assert_passed(healthy.judged, 1)
        return missed


def assert_passed(judged: list[Judged], at_least: int) -> None:
    wrong = [
        f"{each.scenario}: {each.broken or each.reason}"
        for each in judged
        if each.verdict != "pass"
    ]
    assert wrong == []
    assert len({each.scenario for each in judged}) >= at_least


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    work = tmp_path_factory.mktemp("conformance")
    setup = Setup.of(ROOT / "target.toml", "containers", Stores.both("postgres"), work)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        listeners: list[Callable[[Event], None]] = [Terminal()]
        session = runner.run(
            stack.enter_async_context(opened(setup, *listeners, command="make test"))
        )
        try:
            measured = runner.run(session.measure(list(setup.target.paths())))
            found = Judge(runner, session, measured, Score())
            yield found
            session.emit(ended(found.score))
            reports.write(session.folder / "log.jsonl", session.folder)
        finally:
            runner.run(stack.aclose())
