"""Broken applications that only time, load, order or a second replica can show: all to be caught.

A mutant is a file of `mutants/`: a unified diff, as those of the suite, and above it what is wrong
(`summary`), what it would do to somebody (`why`), the promises that may break (`promises`), and
what it is looked for with. It is caught if a seeded run breaks one of these promises, if what is
left of that schedule has three disturbances at the most, and if the application as it is keeps
every promise on that very schedule.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conformance.mutants import MutantError, apply_patch, header
from simulation import files
from simulation.judge import judge
from simulation.strain import is_story
from simulation.world import simulate

FOLDER = Path(__file__).parent / "mutants"
ROOT = Path(__file__).parent.parent
SOURCE = ("app", "workflows", "activities", "downstream")
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
        MutantError: a header is incomplete or names what nobody knows; says which.
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
        disturbances=tuple(said["disturbances"].split()),
        count=int(said["count"]),
        patch=text,
    )


def judge_mutant(mutant: Mutant) -> Caught:
    """Looks for what is wrong with a mutant.

    Raises:
        MutantError: its patch fits the application no longer.
    """
    with tempfile.TemporaryDirectory(prefix="steadfast-mutant-") as folder:
        into = Path(folder) / "source"
        apply_patch(mutant.name, mutant.patch, ROOT, SOURCE, into)
        done = _run(mutant, into)
        found = sorted((into / "failures").glob("*.json"))
        if done.returncode != 1 or not found:
            tail = (done.stderr.strip() or done.stdout.strip())[-300:]
            return Caught(False, f"exit status {done.returncode}: {tail}")
        return _judged(mutant, found[0])


def _run(mutant: Mutant, into: Path) -> subprocess.CompletedProcess[str]:
    """The simulation of this very checkout, on the application in `into`."""
    command = [sys.executable, "-m", "simulation", "run", "--stop", "--jobs", "1"]
    command += ["--count", str(mutant.count), "--out", "failures"]
    command += ["--stories", *mutant.stories, "--disturbances", *mutant.disturbances]
    path = os.pathsep.join([str(into), str(ROOT)])
    return subprocess.run(
        command,
        cwd=into,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def _judged(mutant: Mutant, file: Path) -> Caught:
    schedule, said = files.load(file), json.loads(file.read_text("utf-8"))["said"]
    broken = {line.split(": ")[1] for line in said}
    if not broken & mutant.promises:
        return Caught(False, f"by {', '.join(sorted(broken))} alone")
    struck = [one for one in schedule.disturbances if not is_story(one)]
    if len(struck) > MOST:
        return Caught(False, f"only with {len(struck)} disturbances")
    healthy = judge(schedule, simulate(schedule))
    if healthy.broken:
        return Caught(False, f"so is the application: {healthy.broken[0]}")
    kinds = ", ".join(one.kind for one in struck) or "no disturbance at all"
    return Caught(True, f"{', '.join(sorted(broken & mutant.promises))}, with {kinds}")
