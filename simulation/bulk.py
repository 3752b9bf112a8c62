"""Thousands of schedules, drawn from one seed, on as many processes as there are cores.

Each schedule has a number, and is drawn from the seed and that number alone: so it is the same
on however many processes, and in whatever order.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from random import Random

from simulation.draw import DISTURBANCES, draw
from simulation.judge import Judgement, judge
from simulation.result import Result
from simulation.schedule import Schedule
from simulation.stories import STORIES
from simulation.strain import is_story
from simulation.world import simulate

CHUNK = 4  # schedules that a process takes at a time
AHEAD = 50  # chunks of each process that may wait for a slow one before them


@dataclass(frozen=True)
class Choice:
    """What is drawn: the seed, and the stories and disturbances that it is drawn from."""

    seed: int
    stories: tuple[str, ...] = tuple(STORIES)
    disturbances: tuple[str, ...] = tuple(DISTURBANCES)

    def schedule(self, number: int) -> Schedule:
        """The schedule of a number."""
        return draw(Random(f"{self.seed}/{number}"), self.stories, self.disturbances)


@dataclass(frozen=True)
class One:
    """What came of one schedule; `log` is a digest of everything that happened in it."""

    number: int
    judgement: Judgement
    fired: Counter[str]
    missed: Counter[str]
    log: str
    days: float


@dataclass
class Total:
    """What came of all of them so far."""

    schedules: int = 0
    instances: int = 0
    days: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    broken: list[One] = field(default_factory=list)
    unknown: list[One] = field(default_factory=list)
    log: str = ""

    def add(self, one: One) -> None:
        """Counts one more."""
        self.schedules += 1
        self.instances += one.judgement.instances
        self.days += one.days
        self.fired += one.fired
        self.missed += one.missed
        self.log = hashlib.sha256(f"{self.log}{one.log}".encode()).hexdigest()
        if one.judgement.broken:
            self.broken.append(one)
        elif not one.judgement.kept:
            self.unknown.append(one)

    @property
    def never(self) -> list[str]:
        """Kinds of disturbances that were drawn and never met what they are for."""
        return sorted(kind for kind in self.missed if not self.fired[kind])

    @property
    def exit(self) -> int:
        """0 all kept, 1 a promise was broken, 2 unknown; nothing judged is unknown too."""
        if self.broken:
            return 1
        return 2 if self.unknown or self.never or not self.instances else 0


def run(choice: Choice, numbers: Iterable[int], jobs: int) -> Iterator[One]:
    """What came of these schedules, in their order."""
    if jobs == 1:
        yield from (one(choice, number) for number in numbers)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=quiet) as pool:
        for some in _ahead(pool, choice, _chunks(numbers), AHEAD * jobs):
            yield from some


def one(choice: Choice, number: int) -> One:
    """Draws, runs and judges one schedule."""
    schedule = choice.schedule(number)
    result = simulate(schedule)
    fired, missed = _fired(schedule, result)
    return One(
        number=number,
        judgement=judge(schedule, result),
        fired=fired,
        missed=missed,
        log=digest(result),
        days=result.lasted / 86_400,
    )


def quiet() -> None:
    """What is logged here belongs to a simulation, and is in its own log."""
    logging.getLogger().addHandler(logging.NullHandler())
    gc.freeze()  # what was imported is not searched again by the collections of each simulation


def digest(result: Result) -> str:
    """Tells whether two simulations did the same."""
    return hashlib.sha256("\n".join(result.log).encode()).hexdigest()


def _some(choice: Choice, numbers: Sequence[int]) -> list[One]:
    return [one(choice, number) for number in numbers]


def _chunks(numbers: Iterable[int]) -> Iterator[list[int]]:
    iterator = iter(numbers)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


def _ahead(
    pool: ProcessPoolExecutor, choice: Choice, chunks: Iterator[list[int]], most: int
) -> Iterator[list[One]]:
    """In order, with no more than so many chunks handed out: there may be no end of them."""
    waiting = [pool.submit(_some, choice, chunk) for chunk in itertools.islice(chunks, most)]
    try:
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(_some, choice, chunk) for chunk in itertools.islice(chunks, 1)]
    finally:
        for future in waiting:
            future.cancel()


def _fired(schedule: Schedule, result: Result) -> tuple[Counter[str], Counter[str]]:
    fired: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for disturbance, count in zip(schedule.disturbances, result.fired, strict=True):
        if not is_story(disturbance):
            (fired if count else missed)[disturbance.kind] += 1
    return fired, missed
