"""What the commands do; `cli` has their arguments."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conformance import faults, promises
from conformance import mutants as known_mutants
from conformance import report as reports
from conformance.clusters import Stores
from conformance.errors import ConformanceError
from conformance.events import Event, Judged, Note, PathMeasured, read
from conformance.plan.contract import WorkflowPath
from conformance.plan.scenario import ScenarioError
from conformance.report.terminal import Terminal
from conformance.run import matrix, mutation
from conformance.run.choice import Choice, any_of
from conformance.run.session import BATCH, Setup, ended, opened

TEMPLATE = Path(__file__).with_name("template")


class CommandError(ConformanceError):
    """A command that cannot do what it is told; the message says why."""


def setup_of(given: argparse.Namespace) -> Setup:
    """The setup that the options of a command say.

    Raises:
        TargetError: the target cannot be used.
    """
    database, state = given.database or given.store, given.state_store or given.store
    return Setup.of(given.target, given.cluster, Stores(database, state), given.work)


def init(arguments: argparse.Namespace) -> int:
    """Writes the commented files that a target begins with; overwrites nothing."""
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(file for file in TEMPLATE.iterdir() if file.suffix == ".toml")
    if taken := [str(folder / file.name) for file in files if (folder / file.name).exists()]:
        raise CommandError(f"already there, and left as they are: {', '.join(taken)}")
    for file in files:
        shutil.copyfile(file, folder / file.name)
        print(f"wrote {folder / file.name}")
    print(f"next: fill it in, then python -m conformance check --target {folder / 'target.toml'}")
    return 0


async def check(arguments: argparse.Namespace) -> int:
    """Takes every path without a fault, and says what is missing."""
    setup = setup_of(arguments)
    paths = chosen_paths(setup, arguments.paths)

    def tell(event: Event) -> None:
        if isinstance(event, PathMeasured):
            gone = f", {len(event.unstable)} not always crossed" if event.unstable else ""
            print(f"  {event.path}: {len(event.points)} points{gone}", flush=True)

    print(f"starting {setup.target.name} on {setup.cluster} with {setup.stores}", flush=True)
    async with opened(setup, tell, command=arguments.line) as session:
        print(f"it is up; taking {len(paths)} paths", flush=True)
        measured = await session.measure(paths)
    points = sum(len(each.points) for each in measured)
    print(f"all {len(measured)} paths end as declared; they cross {points} points")
    return 0


def faults_(arguments: argparse.Namespace) -> int:
    """Prints what every fault is."""
    print(faults.reference())
    return 0


def list_(arguments: argparse.Namespace) -> int:
    """Prints what there is."""
    setup = setup_of(arguments)
    print("paths")
    for path in setup.target.paths():
        endings = " or ".join(dict.fromkeys(ending.outcome for ending in path.endings))
        print(f"  {path.name:44} {endings:22} {path.summary}".rstrip())
    print("victims")
    for process in setup.topology.processes:
        if process.victim:
            print(f"  {process.name:18} {process.words}")
    print("faults")
    for fault in faults.everything():
        print(f"  {fault}")
    print("promises")
    for name in promises.checks():
        print(f"  {name:18} {promises.text(name).splitlines()[0]}")
    names = {path.name for path in setup.target.paths()}
    print("mutants")
    for mutant in known_mutants.load():
        if names.issuperset(mutant.paths):
            print(f"  {mutant.name:28} {mutant.promise:16} {mutant.summary}")
    return 0


async def run(arguments: argparse.Namespace) -> int:
    """Judges what was chosen."""
    if arguments.only:
        choice = _only(arguments.only)
    else:
        choice = Choice(
            faults=arguments.faults,
            paths=arguments.paths,
            points=arguments.points,
            depth=arguments.depth,
            done=_passed(arguments.resume),
        )
    return await judge(
        setup_of(arguments), choice, arguments.batch, arguments.line, arguments.mutant
    )


async def judge(
    setup: Setup, choice: Choice, batch: int, line: str, mutant_name: str | None = None
) -> int:
    """A whole run with its reports; returns the exit code."""
    paths = chosen_paths(setup, choice.paths)
    choice, left_out = _possible(setup, choice)
    mutant = mutation.named(mutant_name) if mutant_name else None
    log = None
    try:
        async with opened(setup, Terminal(), command=line) as session:
            log = session.folder / "log.jsonl"
            if choice.done:
                text = f"{len(choice.done)} scenarios were passed in an earlier run"
                session.emit(Note(kind="info", text=text))
            if left_out:
                session.emit(Note(kind="info", text=f"not with {setup.stores}: {left_out}"))
            measured = await session.measure(paths)
            chosen = choice.scenarios(measured)
            if not chosen:
                raise CommandError(
                    "no path has such a point with such a fault: see `conformance list`"
                )
            found = {str(each) for scenarios in chosen.values() for each in scenarios}
            if missing := sorted(choice.only - found):
                raise CommandError(f"no path crosses {', '.join(missing)}")
            if mutant:
                await mutation.install(session, mutant)
                paths = matrix.hurried(paths, mutation.HURRY)
            context = session.context(mutant.name if mutant else None)
            score = await matrix.run(context, chosen, paths, batch)
            session.emit(ended(score))
    finally:
        _report(log)
    return score.exit


def _passed(log: Path | None) -> frozenset[str]:
    """The scenarios that an earlier run has passed."""
    if log is None:
        return frozenset()
    try:
        events = list(read(log))
    except (OSError, ValueError) as error:
        raise CommandError(f"{log} is no log of a run: {error}") from error
    found = (event for event in events if isinstance(event, Judged) and event.mutant is None)
    return frozenset(event.scenario for event in found if event.verdict == "pass")


def _only(scenarios: Sequence[str]) -> Choice:
    parsed = [faults.parse_scenario(text) for text in scenarios]
    return Choice(
        faults=tuple(dict.fromkeys(fault for _, _, fault in parsed)),
        paths=tuple(dict.fromkeys(path for path, _, _ in parsed)),
        # Some faults can be written in two ways.
        only=frozenset(f"{path}@{point}!{fault}" for path, point, fault in parsed),
        depth="paths",
    )


def _possible(setup: Setup, choice: Choice) -> tuple[Choice, str]:
    """The choice without what cannot be here, and what that is."""
    lacking = [fault for fault in choice.faults if setup.lacks(fault)]
    left_out = ", ".join(map(str, lacking))
    if lacking and not set(choice.faults).issuperset(faults.matrix()):  # They were named.
        raise CommandError(f"with {setup.stores} there is no such process: leave out {left_out}")
    rest = tuple(fault for fault in choice.faults if fault not in lacking)
    return replace(choice, faults=rest), left_out


async def mutants(arguments: argparse.Namespace) -> int:
    """Every mutant at its own points, and the unmutated application at all of them."""
    setup = setup_of(arguments)
    every = known_mutants.load()
    if unknown := set(arguments.names) - {mutant.name for mutant in every}:
        raise CommandError(f"there is no mutant {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in every if mutant.name in (arguments.names or [mutant.name])]
    log = None
    try:
        async with opened(setup, Terminal(), command=arguments.line) as session:
            log = session.folder / "log.jsonl"
            healthy, missed = await mutation.judge_mutants(session, chosen)
            exit_code = healthy.exit or (1 if missed else 0)
            session.emit(replace(ended(healthy), exit=exit_code))
    finally:
        _report(log)
    return exit_code


async def replay(arguments: argparse.Namespace) -> int:
    """Runs again what a file of a failure says."""
    try:
        kept: dict[str, Any] = json.loads(arguments.file.read_text("utf-8"))
        choice = _only(kept["scenarios"])
        file, cluster = Path(kept["target"]), kept["cluster"]
        stores = Stores(kept["database"], kept["state_store"])
    except (OSError, ValueError, KeyError, TypeError, ScenarioError) as error:
        raise CommandError(f"{arguments.file} is no file of a failure: {error}") from error
    setup = Setup.of(file, cluster, stores, arguments.work)
    return await judge(setup, choice, BATCH, arguments.line, kept.get("mutant"))


def report(arguments: argparse.Namespace) -> int:
    """Makes the reports of a log again."""
    log: Path = arguments.log
    if not log.is_file():
        raise CommandError(f"there is no log {log}")
    try:
        made = reports.write(log, arguments.folder or log.parent)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    for file in made:
        print(file)
    return 0


def chosen_paths(setup: Setup, patterns: Sequence[str]) -> list[WorkflowPath]:
    """The paths that fit one of these patterns.

    Raises:
        CommandError: none does.
    """
    found = [path for path in setup.target.paths() if any_of(path.name, patterns)]
    if not found:
        raise CommandError(f"no path is called {', '.join(patterns)}")
    return found


def _report(log: Path | None) -> None:
    if log is None or not log.exists():
        return
    for file in reports.write(log, log.parent):
        print(file)
