"""The pytest plugin: `pytest -p conformance.plugin --conformance target.toml`.

Every path with every fault is one test item, which passes when all its points do. An unknown is a
failure that says so: a gate in CI must not open because a fault did not fire. Items that share a
fault are judged in one batch, when the first of them is run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from conformance import cli
from conformance import report as reports
from conformance.clusters import Stores
from conformance.clusters.stores import kinds
from conformance.events import Judged
from conformance.plan.contract import TargetError
from conformance.plan.points import MeasuredPath
from conformance.plan.scenario import Fault
from conformance.run import matrix
from conformance.run.choice import Choice
from conformance.run.matrix import Score
from conformance.run.session import BATCH, CLUSTERS, Session, Setup, ended, opened


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own."""
    group = parser.getgroup("conformance")
    group.addoption("--conformance", type=Path, metavar="TARGET", help="judge this target.toml")
    group.addoption("--conformance-cluster", choices=CLUSTERS, default="processes")
    group.addoption("--conformance-store", choices=tuple(kinds()), default="postgres")
    group.addoption("--conformance-database", choices=tuple(kinds()))
    group.addoption("--conformance-state-store", choices=tuple(kinds()))
    group.addoption(
        "--conformance-faults", type=cli.faults, default="all", help="as `conformance run --faults`"
    )
    group.addoption("--conformance-work", type=Path, default=None)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collects the target that the option names, when it is among the arguments."""
    named: Path | None = parent.config.getoption("--conformance")
    if named is None or file_path != named.resolve():
        return None
    return TargetFile.from_parent(parent, path=file_path)


def pytest_configure(config: pytest.Config) -> None:
    """The target is what is collected, and with it whatever the command line names besides."""
    named: Path | None = config.getoption("--conformance")
    if named is None:
        return
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(named)]
    elif named.resolve() not in {
        (config.invocation_params.dir / each).resolve() for each in config.args
    }:
        config.args.append(str(named))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What shares a fault is judged together; what was deselected is not judged at all."""
    for item in session.items:
        if isinstance(item, PathItem):
            item.shared.expect(item.fault, item.path_name)


class TargetFile(pytest.File):
    """A target: its paths and faults as items."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item for every path and fault."""
        option = self.config.getoption
        both = option("--conformance-store")
        chosen = Stores(
            option("--conformance-database") or both, option("--conformance-state-store") or both
        )
        cluster, work = option("--conformance-cluster"), option("--conformance-work")
        try:
            setup = Setup.of(self.path, cluster, chosen, work)
        except TargetError as error:
            raise self.CollectError(str(error)) from error
        shared = SharedSession(setup)
        self.config.add_cleanup(shared.close)
        for fault in option("--conformance-faults"):
            for path in setup.target.paths():
                name = f"{path.name}[{fault}]"
                yield PathItem.from_parent(
                    self, name=name, shared=shared, path_name=path.name, fault=fault
                )


class PathItem(pytest.Item):
    """All points of a path, with one fault."""

    def __init__(
        self, *, shared: SharedSession, path_name: str, fault: Fault, **given: Any
    ) -> None:
        super().__init__(**given)
        self.shared = shared
        self.path_name = path_name
        self.fault = fault

    def runtest(self) -> None:
        """Judges, or takes the verdicts that an earlier item of the same fault has brought."""
        if self.shared.setup.lacks(self.fault):
            pytest.skip(f"with {self.shared.setup.stores} there is no such process: {self.fault}")
        judged = self.shared.verdicts(self.fault, self.path_name)
        if judged is None:
            pytest.skip(
                f"{self.path_name} has no point of its own for {self.fault}: it crosses none, or "
                "only those that a path before it crosses just so, and there they were judged"
            )
        if wrong := [each for each in judged if each.verdict != "pass"]:
            raise NotPassed(wrong, len(judged))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What is broken and how to see it again, instead of our own traceback."""
        if isinstance(excinfo.value, (NotPassed, *cli.TROUBLE)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """How it is called in reports."""
        return self.path, 0, f"conformance: {self.name}"


class NotPassed(Exception):
    """Verdicts that are fail or unknown."""

    def __init__(self, wrong: Iterable[Judged], total: int) -> None:
        lines = []
        for each in wrong:
            whys = [f"{name}: {why}" for name, why in each.broken.items()] or [each.reason]
            lines += [f"{each.verdict}: {each.scenario}", *(f"    {why}" for why in whys)]
            lines.append(f"    {each.repeat}")
        count = sum(line.startswith(("fail", "unknown")) for line in lines)
        super().__init__("\n".join([f"{count} of {total} did not pass", *lines]))


class SharedSession:
    """One cluster for all items of a target, started by the first that runs."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._session: Session | None = None
        self._measured: list[MeasuredPath] = []
        self._expected: dict[Fault, set[str]] = {}
        self._verdicts: dict[Fault, dict[str, list[Judged]]] = {}
        self._score = Score()
        self._lost: Exception | None = None

    def expect(self, fault: Fault, path: str) -> None:
        """An item will ask for this."""
        self._expected.setdefault(fault, set()).add(path)

    def verdicts(self, fault: Fault, path: str) -> list[Judged] | None:
        """The verdicts on a path with a fault; `None` when there is no such point."""
        if self._lost is not None:
            raise self._lost
        if fault not in self._verdicts:
            try:
                self._verdicts[fault] = self._runner.run(self._judge(fault))
            except Exception as error:
                # On what is left nothing more can be judged, and every item has to say so.
                self._lost = error
                raise
        return self._verdicts[fault].get(path)

    def close(self) -> None:
        """Writes the reports and ends the cluster."""
        if self._session is not None:
            self._session.emit(ended(self._score))
            reports.write(self._session.folder / "log.jsonl", self._session.folder)
            self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _judge(self, fault: Fault) -> dict[str, list[Judged]]:
        session = self._session or await self._open()
        wanted = self._expected[fault]
        choice = Choice(faults=(fault,), paths=tuple(wanted))
        chosen = choice.scenarios(self._measured)
        paths = [each.path for each in self._measured]
        score = await matrix.run(session.context(), chosen, paths, BATCH)
        self._score.judged += score.judged
        found: dict[str, list[Judged]] = {}
        for judged in score.judged:
            found.setdefault(judged.path, []).append(judged)
        return found

    async def _open(self) -> Session:
        command = f"pytest -p conformance.plugin --conformance {self.setup.file}"
        session = await self._stack.enter_async_context(opened(self.setup, command=command))
        self._session = session
        names = set().union(*self._expected.values())
        paths = [path for path in self.setup.target.paths() if path.name in names]
        self._measured = await session.measure(paths)
        return session
