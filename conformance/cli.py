"""The command: `conformance init|check|list|faults|run|mutants|replay|debug|report`.

Exit codes: 0 everything passed, 1 a promise was broken (or a mutant not caught), 2 unknown, or the
command could not do its work.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from conformance import commands, debugging
from conformance import faults as known_faults
from conformance.clusters.stores import kinds
from conformance.errors import ConformanceError
from conformance.plan.scenario import Fault, ScenarioError
from conformance.run.session import BATCH, CLUSTERS
from launcher.errors import LauncherError

STOPS = (signal.SIGINT, signal.SIGTERM)
TROUBLE = (ConformanceError, LauncherError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        arguments = parser().parse_args(given)
        arguments.line = f"python -m conformance {shlex.join(given)}"
        work = arguments.run(arguments)
        return work if isinstance(work, int) else asyncio.run(_until_told(work))
    except BrokenPipeError:
        # `head` has read enough. What Python flushes at its end goes nowhere, and nothing passed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except TROUBLE as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        # Everything has been ended; a second signal does not change the exit code.
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        print("conformance: stopped", file=sys.stderr)
        return 130
    except Exception:
        # Python's own exit code would be 1, which says that a promise was broken.
        logging.getLogger(__name__).exception("the suite itself has failed")
        return 2


async def _until_told(work: Coroutine[Any, Any, int]) -> int:
    """Ctrl-C and SIGTERM end a run, once: everything that was started is ended."""
    task = asyncio.create_task(work)

    def stop() -> None:
        # A second Ctrl-C must not interrupt the clearing up; and Python's own answer to it can tear
        # the loop apart, which then waits for ever.
        if task.cancelling():
            print("conformance: still ending what was started", file=sys.stderr)
        else:
            task.cancel()

    for number in STOPS:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return await task


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="conformance", description=__doc__)
    commands_ = top.add_subparsers(required=True, metavar="COMMAND")

    init = commands_.add_parser("init", help="write a commented target.toml to begin with")
    init.add_argument("folder", nargs="?", type=Path, default=Path())
    init.set_defaults(run=commands.init)

    check = commands_.add_parser("check", help="try a target: every path once, without a fault")
    _target(check)
    check.add_argument("--paths", type=_patterns, default=("*",))
    check.set_defaults(run=commands.check)

    list_ = commands_.add_parser("list", help="paths, victims, faults, promises and mutants")
    _target(list_)
    list_.set_defaults(run=commands.list_)

    faults_ = commands_.add_parser("faults", help="what every fault does, and what proves it")
    faults_.set_defaults(run=commands.faults_)

    run = commands_.add_parser("run", help="judge: points x victims x faults")
    _target(run)
    run.add_argument(
        "--faults",
        type=faults,
        default=known_faults.everything(),
        help="comma-separated: app:kill, daprd:cut, duplicate, outage:lost, matrix, all (default)",
    )
    run.add_argument("--paths", type=_patterns, default=("*",), help="patterns, comma-separated")
    run.add_argument("--points", type=_patterns, default=("*",), help="patterns, comma-separated")
    run.add_argument(
        "--depth",
        choices=("kinds", "states", "paths"),
        default="kinds",
        help="judge every kind of point once (default), every point in every state, or everything",
    )
    run.add_argument("--resume", type=Path, metavar="LOG", help="leave out what this run passed")
    run.add_argument("--only", action="append", default=[], metavar="SCENARIO")
    run.add_argument("--batch", type=_batch, default=BATCH, help="instances at once")
    run.add_argument("--mutant", help="of the application that this mutant makes")
    run.set_defaults(run=commands.run)

    mutants = commands_.add_parser("mutants", help="the suite must fail every one of them")
    _target(mutants)
    mutants.add_argument("names", nargs="*", help="these only")
    mutants.set_defaults(run=commands.mutants)

    replay = commands_.add_parser("replay", help="run again what failed, from its file")
    replay.add_argument("file", type=Path)
    replay.add_argument("--work", type=Path, default=None)
    replay.set_defaults(run=commands.replay)

    debug = commands_.add_parser("debug", help="hold one instance at a point, and leave it there")
    _target(debug)
    debug.add_argument("scenario", help="path@point!victim:fault, or path@point")
    debug.set_defaults(run=debugging.debug)

    report = commands_.add_parser("report", help="make the reports of a log again")
    report.add_argument("log", type=Path)
    report.add_argument("--folder", type=Path, default=None)
    report.set_defaults(run=commands.report)
    return top


def _target(command: argparse.ArgumentParser) -> None:
    command.add_argument("--target", type=Path, default=Path("target.toml"))
    command.add_argument("--cluster", choices=CLUSTERS, default="processes")
    known = tuple(kinds())
    command.add_argument(
        "--store", choices=known, default="postgres", help="of the application and of Dapr"
    )
    command.add_argument("--database", choices=known, help="another one for the application")
    command.add_argument("--state-store", choices=known, help="another one for Dapr")
    command.add_argument("--work", type=Path, default=None, help="default: .run/conformance")


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def faults(text: str) -> tuple[Fault, ...]:
    """The faults that a comma-separated list names.

    Raises:
        ArgumentTypeError: one of them is none.
    """
    named = {"all": known_faults.everything(), "matrix": known_faults.matrix()}
    found: list[Fault] = []
    for part in _patterns(text):
        try:
            found += named.get(part) or (known_faults.parse(part),)
        except ScenarioError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return tuple(dict.fromkeys(found))


def _batch(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 5000:
        raise argparse.ArgumentTypeError("a number from 1 to 5000")
    return int(text)
