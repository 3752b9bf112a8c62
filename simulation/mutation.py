"""Broken applications that only time, load, order or a second replica can show: all to be caught.

A mutant is a file of `mutants/`: a unified diff, as those of the suite, and above it what is wrong
(`summary`), what it would do to a user (`why`), the promises that may break (`promises`), and
what it is looked for with. It is caught if a seeded run breaks one of these promises, if what is
left of that schedule has three disturbances at the most, and if the application as it is keeps
every promise on that very schedule, both as it was drawn and as it is left. What was found lies
beside the patch, and is a matter of seconds to run again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.mutants import MutantError, apply_patch, header
from simulation import files
from simulation.bulk import Choice
from simulation.judge import Judgement, judge
from simulation.schedule import Schedule
from simulation.strain import is_story
from simulation.world import simulate

FOLDER = Path(__file__).parent / "mutants"
ROOT = Path(__file__).parent.parent
SOURCE = ("app", "store", "workflows", "activities", "downstream")
SEED = 1  # what is drawn from
KEYS = ("summary", "why", "promises", "stories", "disturbances", "count")
MOST = 3  # disturbances of the schedule that shows it
DEADLINE = 600.0  # seconds

__all__ = ["MutantError"]


@dataclass(frozen=True)
class Mutant:
    """A broken application, the promises that it breaks, and what it is looked for with.

    `stories` and `disturbances` are what is drawn from, `count` is how many schedules at most.
    """

    name: str
    summary: str
    why: str
    promises: frozenset[str]
    stories: tuple[str, ...]
    disturbances: tuple[str, ...]
    count: int
    patch: str

    @property
    def found(self) -> Path:
        """The schedule that has shown what is wrong with it."""
        return FOLDER / f"{self.name}.json"


@dataclass(frozen=True)
class Caught:
    """Whether a mutant was caught, by which promises, with how many disturbances; or why not."""

    caught: bool
    text: str

    def __str__(self) -> str:
        return f"{'caught' if self.caught else 'NOT CAUGHT'}: {self.text}"


def load(folder: Path = FOLDER) -> tuple[Mutant, ...]:
    """Every mutant, by name.

    Raises:
        MutantError: a header is incomplete or names what does not exist; says which.
    """
    return tuple(read(file) for file in sorted(folder.glob("*.patch")))


def read(file: Path) -> Mutant:
    """One mutant.

    Raises:
        MutantError: its header is incomplete.
    """
    text = file.read_text("utf-8")
    said = header(file.name, text, KEYS)
    return Mutant(
        name=file.stem,
        summary=said["summary"],
        why=said["why"],
        promises=frozenset(said["promises"].split()),
        stories=tuple(said["stories"].split()),
        disturbances=tuple(one for one in said["disturbances"].split() if one != "none"),
        count=int(said["count"]),
        patch=text,
    )


def judge_mutant(mutant: Mutant, *, keep: bool = False) -> Caught:
    """Looks for what is wrong with a mutant, and with `keep` saves the schedule that shows it.

    Raises:
        MutantError: its patch fits the application no longer.
    """
    with tempfile.TemporaryDirectory(prefix="steadfast-mutant-") as folder:
        into = Path(folder) / "source"
        apply_patch(mutant.name, mutant.patch, ROOT, SOURCE, into)
        done = _run(into, "run", *_search(mutant))
        found = sorted((into / "failures").glob("*.json"))
        if done.returncode != 1 or not found:
            return Caught(False, f"exit status {done.returncode}: {_tail(done)}")
        schedule, said = files.load(found[0]), json.loads(found[0].read_text("utf-8"))["said"]
        caught = _judged(mutant, said, schedule, _drawn(mutant, found[0]))
        if caught.caught and keep:
            shutil.copyfile(found[0], mutant.found)
        return caught


def replay_mutant(mutant: Mutant) -> Caught:
    """Runs what was found once again, on the mutant and on the application as it is.

    Raises:
        FileError: nothing was found yet.
        MutantError: its patch fits the application no longer.
    """
    schedule = files.load(mutant.found)
    with tempfile.TemporaryDirectory(prefix="steadfast-mutant-") as folder:
        into = Path(folder) / "source"
        apply_patch(mutant.name, mutant.patch, ROOT, SOURCE, into)
        done = _run(into, "replay", str(mutant.found))
    said = [line.strip().removeprefix("broken: ") for line in done.stdout.splitlines()]
    if done.returncode != 1:
        return Caught(False, f"exit status {done.returncode}: {_tail(done)}")
    return _judged(mutant, [line for line in said if ": " in line], schedule)


def _search(mutant: Mutant) -> list[str]:
    drawn = ["--stories", *mutant.stories, "--disturbances", *mutant.disturbances]
    bounds = ["--seed", str(SEED), "--count", str(mutant.count)]
    return ["--stop", "--jobs", "1", "--out", "failures", *bounds, *drawn]


def _run(into: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The simulation of this very checkout, on the application in `into`."""
    path = os.pathsep.join([str(into), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "simulation", *arguments],
        cwd=into,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip())[-300:]


def _drawn(mutant: Mutant, file: Path) -> Schedule:
    """What was drawn before anything was left out."""
    number = int(file.stem.rpartition("-")[2])
    return Choice(SEED, mutant.stories, mutant.disturbances).schedule(number)


def _judged(mutant: Mutant, said: Sequence[str], schedule: Schedule, *others: Schedule) -> Caught:
    broken = {line.split(": ")[1] for line in said}
    if not broken & mutant.promises:
        return Caught(False, f"by {', '.join(sorted(broken))} alone")
    injected = [one for one in schedule.disturbances if not is_story(one)]
    if len(injected) > MOST:
        return Caught(False, f"only with {len(injected)} disturbances")
    for each in (schedule, *others):
        if not (healthy := _healthy(each)).kept:
            return Caught(False, f"so is the application: {[*healthy.broken, *healthy.unknown][0]}")
    kinds = ", ".join(one.kind for one in injected) or "no disturbance at all"
    return Caught(True, f"{', '.join(sorted(broken & mutant.promises))}, with {kinds}")


def _healthy(schedule: Schedule) -> Judgement:
    return judge(schedule, simulate(schedule))
