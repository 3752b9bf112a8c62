"""A second application, which shares no code with ours: judged, and its planted bugs are found.

All that the suite knows of it is its `target.toml`, and the witness that this declares.
"""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from conformance import cli
from conformance.clusters import Stores
from conformance.events import Judged
from conformance.faults import parse
from conformance.plan import contract
from conformance.plan.points import MeasuredPath
from conformance.run import matrix
from conformance.run.choice import Choice
from conformance.run.session import BATCH, Session, Setup, opened
from downstream import config
from tests.conformance.kit import TRANSFER

TARGET = TRANSFER / "target.toml"
OURS = (
    "activities",
    "app",
    "conformance",
    "downstream",
    "launcher",
    "simulation",
    "store",
    "tests",
    "workflows",
)
PATHS = ("transfer/done", "transfer/closed", "transfer/confirmed")
# For each bug where it shows, and the promise that it breaks there.
BUGS = {
    "key": ("transfer/done", "app:kill", "at_most_once"),
    "undo": ("transfer/done", "outage:lost", "all_or_nothing"),
    "retry": ("transfer/closed", "outage:5xx", "no_dead_end"),
}
HURRY = 20.0  # seconds: what a bug leaves unfinished stays so

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Session]:
    work = tmp_path_factory.mktemp("transfer")
    setup = Setup(contract.load(TARGET), TARGET, "processes", Stores.both("sqlite"), work)
    async with opened(setup, command="pytest") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def measured(session: Session) -> list[MeasuredPath]:
    return await session.measure(session.setup.target.paths())


async def judged(
    session: Session,
    measured: list[MeasuredPath],
    faults: list[str],
    paths: tuple[str, ...],
    bug: str,
) -> list[Judged]:
    choice = Choice(faults=tuple(parse(text) for text in faults), paths=paths)
    patience = matrix.hurried(session.setup.target.paths(), HURRY)
    context = session.context(bug or None)
    score = await matrix.run(context, choice.scenarios(measured), patience, BATCH)
    return score.judged


def told(verdicts: list[Judged], word: str) -> list[str]:
    return [
        f"{each.scenario}: {each.reason or each.broken}"
        for each in verdicts
        if each.verdict == word
    ]


async def test_shares_no_code_with_ours() -> None:
    tree = ast.parse(TARGET.with_name("app.py").read_text("utf-8"))
    names = [
        name
        for node in ast.walk(tree)
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert not [name for name in names if name.partition(".")[0] in OURS]
    assert "dapr.ext.workflow" in names


async def test_every_path_crosses_the_same_points_every_time(measured: list[MeasuredPath]) -> None:
    assert {course.path.name: course.unstable for course in measured if course.unstable} == {}
    assert len(measured) == 6


async def test_the_correct_version_passes(session: Session, measured: list[MeasuredPath]) -> None:
    faults = ["app:kill", "daprd:kill", "duplicate", "outage:lost", "outage:5xx"]
    verdicts = await judged(session, measured, faults, PATHS, "")
    assert told(verdicts, "fail") == []
    assert told(verdicts, "unknown") == []
    assert all(each.fired for each in verdicts)
    assert {f"{each.victim}:{each.fault}" for each in verdicts} == {
        str(parse(text)) for text in faults
    }


@pytest.mark.parametrize("bug", BUGS)
async def test_a_planted_bug_is_found(
    session: Session, measured: list[MeasuredPath], bug: str
) -> None:
    path, fault, promise = BUGS[bug]
    await asyncio.to_thread(session.cluster.replace_app, None, {"BUGS": bug})
    try:
        verdicts = await judged(session, measured, [fault], (path,), bug)
    finally:
        await asyncio.to_thread(session.cluster.replace_app, None, {})
    broken = Counter(name for each in verdicts for name in each.broken)
    assert broken[promise] > 0, f"{broken}; unknown: {told(verdicts, 'unknown')}"
    assert any(each.verdict == "pass" for each in verdicts)


async def test_what_init_writes_is_a_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", str(tmp_path / "mine")]) == 0
    target = contract.load(tmp_path / "mine" / "target.toml")
    declared = config.load(target.folder / target.witness.config)
    effects = {
        effect.split()[0]
        for path in target.paths()
        for end in path.endings
        for effect in end.effects
    }
    assert all(declared.find(name) for name in effects)
    assert "conformance check" in capsys.readouterr().out
    assert cli.main(["init", str(tmp_path / "mine")]) == 2, "it would overwrite what is there"
    assert "already there" in capsys.readouterr().err
