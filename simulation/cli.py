"""The command: `python -m simulation run|replay|soak|mutants`.

Exit status: 0 every promise was kept, 1 one was broken, 2 unknown or wrong usage.
"""

from __future__ import annotations

import argparse
import itertools
import secrets
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from simulation import files, mutation
from simulation.bulk import Choice, One, Total, digest, quiet, run
from simulation.draw import DISTURBANCES
from simulation.judge import Judgement, judge
from simulation.schedule import Schedule
from simulation.shrink import shrink
from simulation.stories import STORIES
from simulation.strain import is_story
from simulation.world import simulate

SEED = 1  # what `run` draws from by default
EVERY = 100  # schedules between two lines of progress
SHOWN = 5  # failures that are shrunk and saved


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    quiet()
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (files.FileError, mutation.MutantError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run_ = commands.add_parser("run", help="draw, run and judge schedules of one seed")
    run_.add_argument("--count", type=_count, default=10_000)
    run_.set_defaults(command=_run)
    soak = commands.add_parser("soak", help="the same, for so long")
    soak.add_argument("--minutes", type=float, default=60.0)
    soak.set_defaults(command=_soak)
    for each in (run_, soak):
        each.add_argument("--seed", type=int)
        each.add_argument("--first", type=int, default=0, help="the number of the first schedule")
        each.add_argument("--jobs", type=_count, default=2, help="processes")
        each.add_argument("--stories", nargs="*", choices=STORIES, default=list(STORIES))
        each.add_argument(
            "--disturbances", nargs="*", choices=DISTURBANCES, default=list(DISTURBANCES)
        )
        each.add_argument("--stop", action="store_true", help="at the first broken promise")
        each.add_argument("--out", type=Path, default=files.FOLDER, help="where failures go")
    replay = commands.add_parser("replay", help="run a saved schedule again")
    replay.add_argument("file", type=Path)
    replay.add_argument("--log", action="store_true", help="print everything that happened")
    replay.set_defaults(command=_replay)
    mutants = commands.add_parser("mutants", help="broken applications, which have to be caught")
    mutants.add_argument("names", nargs="*", help="these only")
    mutants.add_argument("--keep", action="store_true", help="what shows them, beside the patches")
    mutants.set_defaults(command=_mutants)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _run(options: argparse.Namespace) -> int:
    numbers = range(options.first, options.first + options.count)
    return _bulk(options, SEED if options.seed is None else options.seed, numbers)


def _soak(options: argparse.Namespace) -> int:
    end = time.monotonic() + 60 * options.minutes
    numbers = itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(options.first))
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    return _bulk(options, seed, numbers)


def _bulk(options: argparse.Namespace, seed: int, numbers: Iterable[int]) -> int:
    choice = Choice(seed, tuple(options.stories), tuple(options.disturbances))
    print(f"seed {seed}", flush=True)
    total, began = Total(), time.monotonic()
    for one in run(choice, numbers, options.jobs):
        total.add(one)
        if not one.judgement.kept and len(total.broken) + len(total.unknown) <= SHOWN:
            _save(choice, one, options.out)
        if total.broken and options.stop:
            break
        _progress(total, began)
    _summary(total)
    return total.exit


def _progress(total: Total, began: float) -> None:
    if total.schedules % EVERY == 0:
        rate = total.schedules / (time.monotonic() - began)
        text = f"{total.schedules} schedules, {rate:.1f} a second, {len(total.broken)} broken"
        print(text, file=sys.stderr, flush=True)


def _save(choice: Choice, one: One, folder: Path) -> None:
    """Shrinks what failed, saves it, and says how it is repeated."""
    file = folder / f"{choice.seed}-{one.number}.json"
    schedule = choice.schedule(one.number)
    smaller = shrink(schedule, lambda other: _alike(other, one.judgement))
    judgement = judge(smaller, simulate(smaller))
    files.save(file, smaller, judgement)
    print(f"\nschedule {one.number}:")
    _say(smaller, judgement)
    print(f"  python -m simulation replay {file}", flush=True)


def _alike(schedule: Schedule, before: Judgement) -> bool:
    """Whether a smaller schedule still breaks a promise that was broken."""
    now = judge(schedule, simulate(schedule))
    if not before.broken:
        return bool(now.unknown) and not now.broken
    return bool({one.promise for one in now.broken} & {one.promise for one in before.broken})


def _say(schedule: Schedule, judgement: Judgement) -> None:
    injected = [one for one in schedule.disturbances if not is_story(one)]
    print(f"  {judgement.instances} instances, {len(injected)} disturbances")
    for broken in judgement.broken:
        print(f"  broken: {broken}")
    for text in judgement.unknown:
        print(f"  unknown: {text}")
    for number in judgement.unfired:
        print(f"  did not fire: {schedule.disturbances[number].kind}")


def _summary(total: Total) -> None:
    print(
        f"\n{total.schedules} schedules, {total.instances} instances, {total.days:.0f} days; "
        f"{len(total.broken)} broken, {len(total.unknown)} unknown"
    )
    for kind in sorted(total.fired | total.missed):
        print(f"  {kind}: fired {total.fired[kind]}, did not fire {total.missed[kind]}")
    for kind in total.never:
        print(f"  unknown: no {kind} has ever fired")
    print(f"log {total.log}")


def _replay(options: argparse.Namespace) -> int:
    schedule = files.load(options.file)
    result = simulate(schedule)
    judgement = judge(schedule, result)
    if options.log:
        print("\n".join(result.log))
    _say(schedule, judgement)
    print(f"log {digest(result)}")
    if judgement.broken:
        return 1
    return 0 if judgement.kept and not judgement.unfired else 2


def _mutants(options: argparse.Namespace) -> int:
    chosen = [each for each in mutation.load() if not options.names or each.name in options.names]
    missed = 0
    for mutant in chosen:
        caught = mutation.judge_mutant(mutant, keep=options.keep)
        missed += not caught.caught
        print(f"{mutant.name}: {caught}", flush=True)
    print(f"{len(chosen)} mutants, {missed} not caught")
    return 1 if missed else 0 if chosen else 2
