"""Makes a failing schedule smaller by leaving things out, as long as it fails in the same way.

What goes out as one: an instance with all of its story, and one disturbance. The rest
of a schedule stays as it is, so that what is left happens at the very same moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from simulation.evidence import about
from simulation.schedule import Schedule
from simulation.strain import instance_of, is_story

T = TypeVar("T")
Fails = Callable[[Schedule], bool]
# What is left out: the names of instances, and the positions of disturbances.
Part = tuple[frozenset[str], frozenset[int]]


def shrink(schedule: Schedule, fails: Fails) -> Schedule:
    """The smallest schedule that leaving out leads to and that `fails` still."""
    while True:
        for part in _parts(schedule):
            smaller = without(schedule, part)
            if smaller.calls and fails(smaller):
                schedule = smaller
                break
        else:
            return _plain(schedule, fails)


def without(schedule: Schedule, part: Part) -> Schedule:
    """The same schedule without these instances and disturbances."""
    gone, positions = part
    return schedule.model_copy(
        update={
            "calls": tuple(call for call in schedule.calls if about(call) not in gone),
            "disturbances": tuple(
                one
                for number, one in enumerate(schedule.disturbances)
                if number not in positions and instance_of(one) not in gone
            ),
        }
    )


def _parts(schedule: Schedule) -> Iterator[Part]:
    """Halves first, because most of a schedule has nothing to do with why it fails."""
    names = list(dict.fromkeys(filter(None, map(about, schedule.calls))))
    injected = [number for number, one in enumerate(schedule.disturbances) if not is_story(one)]
    for some in _halves(names):
        yield frozenset(some), frozenset()
    for few in _halves(injected):
        yield frozenset(), frozenset(few)


def _halves(items: Sequence[T]) -> Iterator[Sequence[T]]:
    size = len(items)
    while size >= 1:
        for begin in range(0, len(items), size):
            yield items[begin : begin + size]
        size //= 2


def _plain(schedule: Schedule, fails: Fails) -> Schedule:
    """Clocks that agree, where that makes no difference."""
    plain = schedule.model_copy(update={"skews": ()})
    return plain if schedule.skews and fails(plain) else schedule
