"""When a loop that only polls (an *idler*) has to poll again.

Sweeps are most of what an application does in a quiet month, and find nothing. A whole sweep that
found nothing finds nothing again until something happens, or until a date in the store is older
than the sweep compares it with. Those comparisons are read off the sweep's own statements: no query
of the application has to be known here. Whether something that happens concerns a sweep is seen by
asking its questions again, past the whole application: while all the answers are empty, it would
find nothing. What a sweep is answered and judges by itself is beyond that, and then it is repeated
at growing intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

from simulation.loop import Loop, idling
from store import clock

# Seconds without anything until unclear sweeps become rarer. The ladder is patient for four minutes
# with a last run, and counts none in which it did not look all the while.
AWAKE = 300.0
STRETCH = 6.0  # the pause after an unclear sweep, as a multiple of how long nothing has happened
UNCLEAR = 86_400.0  # seconds from an unclear sweep to the next, at most
LONGEST = 30 * UNCLEAR  # seconds from any look to the next, at most
SLACK = 0.2  # seconds beyond a date: a comparison was made shortly before we heard of it
# What is written now and then although nothing happens.
HOUSEKEEPING = frozenset({"leases", "cursors", "processes"})

Comparison = tuple[str, str, float]  # a table, its column, and the age past which a row is found
Question = tuple[
    str, tuple[Any, ...], tuple[tuple[int, float], ...]
]  # with places and ages of dates


class Store(Protocol):
    """The database, past the application."""

    def next_date(self, table: str, column: str, after: str) -> str | None:
        """The first date in a column that is later than another one."""

    def finds(self, statement: str, parameters: Sequence[Any]) -> bool:
        """Whether there is any row."""

    def written_at(self, table: str) -> float:
        """When a table was last written to."""


DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?$")
COMPARED = re.compile(r'(\w+?)(?:_\d+)?\."?(\w+)"? (?:<=? \?|BETWEEN \? AND \?)')
SHRINKING = re.compile(r"(?:>=?|BETWEEN) \?")  # what is older than that is found no more
BEHIND = re.compile(r">=? \(?\?")  # a page, and the next sweep may begin elsewhere
TABLE = re.compile(r'\s*(?:SELECT\b.*?\bFROM|UPDATE|DELETE FROM|INSERT INTO)\s+"?(\w+)', re.S)


@dataclass
class Found:
    """The last whole sweep of one name, by whichever replica, that changed nothing."""

    began: float = -1.0
    swept: float = -1.0  # the same, when it is not only known that it would find nothing
    clear: bool = False  # whether it read nothing that it may have judged by itself
    comparisons: set[Comparison] = field(default_factory=set)
    questions: list[Question] = field(default_factory=list)
    changes: set[str] = field(default_factory=set)  # tables in which it would change something
    before: Found | None = None  # the last clear one, where this is not


class Sweeps:
    """The sweeps of one task, as its statements show them.

    `seen` says when what happened elsewhere than in the store can be seen; 0: it does not matter.
    A sweep that `carries` leaves tasks behind that it does not wait for, and sweeps on meanwhile.
    """

    def __init__(
        self,
        loop: Loop,
        found: Found,
        store: Store,
        seen: Callable[[], float] = lambda: 0.0,
        carries: bool = False,
    ) -> None:
        self._loop, self._found, self._store, self._seen = loop, found, store, seen
        self._carries = carries
        self._running = 0
        self._failed = False
        self._now = Found()

    def joined(self) -> None:
        """A task of its own begins."""
        self._running += 1

    def left(self, _: Any) -> None:
        """It is over."""
        self._running -= 1

    def asked(self, statement: str, parameters: Any) -> None:
        """It asks the store something."""
        table, places, shrinking = _comparisons(statement)
        if table in HOUSEKEEPING:
            return
        if self._now.began < 0:
            self._now = Found(self._loop.time(), self._loop.time(), clear=True)
        at = clock.now().timestamp()
        ages = {n: at - _seconds(each) for n, each in enumerate(parameters) if _is_date(each)}
        for name, column, place in places:
            if place in ages:
                self._now.comparisons.add((name, column, round(ages[place], 1)))
        if not statement.startswith("SELECT"):
            self._now.changes.add(table)
        elif ages.keys() - {place for *_, place in places} - shrinking or _paged(
            statement, parameters
        ):
            self._now.clear = False
        else:
            self._now.questions.append((statement, tuple(parameters), tuple(ages.items())))

    def answered(self, statement: str) -> None:
        """It is given rows, which it may compare with the clock by itself."""
        if _comparisons(statement)[0] not in HOUSEKEEPING:
            self._now.clear = False

    def failed(self) -> None:
        """It cannot have come to its end."""
        self._failed = True

    def over(self) -> bool:
        """Its task pauses; says whether nothing that it began is under way."""
        if self._running > 1 and not self._carries:
            return False
        last, failed = self._now, self._failed
        self._now, self._failed = Found(), False
        found = self._found
        if found.clear and last.began >= 0 and not (last.clear or failed):
            found.before, found.clear = replace(found), False
            self._loop.active()  # what is found late is looked at more than once
        if last.began > self._loop.active_at and not failed:
            last.before = None if last.clear else found.before
            vars(found).update(vars(last))
        return True

    def until(self, usual: float) -> float:
        """When to sweep again, if that would be at `usual` otherwise."""
        found, now = self._found, self._loop.time()
        if found.began > self._loop.active_at and (due := self._due()) > now:
            return max(usual, due)
        clear = found if found.clear else found.before
        if usual > now or clear is None or not self._would_find_nothing(clear):
            return usual
        vars(found).update(vars(clear), began=now)
        return max(usual, self._due())

    def _would_find_nothing(self, found: Found) -> bool:
        """Whether the questions of a sweep that found nothing are still answered by nothing."""
        now = self._loop.time()
        if now <= self._loop.active_at or now >= self._due_elsewhere():
            return False
        if any(self._store.written_at(table) >= found.swept for table in found.changes):
            return False
        at = clock.now().timestamp()
        return not any(self._finds(each, at) for each in found.questions)

    def _finds(self, question: Question, at: float) -> bool:
        statement, parameters, ages = question
        asked = list(parameters)
        for place, age in ages:
            asked[place] = _date(at - age)
        return self._store.finds(statement, asked)

    def _due(self) -> float:
        found = self._found
        if not found.clear:
            quiet = found.began - self._loop.active_at
            return found.began + min(STRETCH * quiet * (quiet > AWAKE), UNCLEAR)
        dates = [self._due_by(each) for each in found.comparisons]
        return min([*dates, self._due_elsewhere()])

    def _due_elsewhere(self) -> float:
        """When it has to be swept for what the store does not know."""
        seen, swept = self._seen(), self._found.swept
        return min(seen, swept + LONGEST) if swept < seen else swept + LONGEST

    def _due_by(self, comparison: Comparison) -> float:
        table, column, age = comparison
        ahead = clock.now().timestamp() - self._loop.time()
        # By our own clock, whichever replica's sweep it was.
        seen = self._found.began + ahead - age - SLACK
        date = self._store.next_date(table, column, _date(seen))
        return _seconds(date) + age + SLACK - ahead if date else float("inf")


class Looks:
    """The looks of one task at what `see` tells; `None` is something to keep an eye on."""

    def __init__(self, loop: Loop, see: Callable[[], Any]) -> None:
        self._loop, self._see = loop, see
        self._seen: Any = None
        self._seen_at = 0.0

    def joined(self) -> None:
        """What it is about is not in the store."""

    def left(self, _: Any) -> None:
        """The same."""

    def looked(self) -> None:
        """It has seen it as it is now."""
        self._seen, self._seen_at = self._see(), self._loop.time()

    def over(self) -> bool:
        """Its task pauses, and nothing of it is under way."""
        return True

    def until(self, usual: float) -> float:
        """When to look again, if that would be at `usual` otherwise."""
        seen = self._see()
        changed = seen is None or seen != self._seen
        return usual if changed else max(usual, self._seen_at + LONGEST)


def failed() -> None:
    """Whatever sweep this is, it cannot have come to its end."""
    idler = idling.get()
    if isinstance(idler, Sweeps):
        idler.failed()


@cache
def _comparisons(statement: str) -> tuple[str, list[tuple[str, str, int]], set[int]]:
    """The table, the columns that some parameter is an upper bound of, and the lower bounds."""
    table = TABLE.match(statement)
    places = [
        (found[1], found[2], statement.count("?", 0, found.end()) - 1)
        for found in COMPARED.finditer(statement)
    ]
    shrinking = {
        statement.count("?", 0, found.end()) - 1 for found in SHRINKING.finditer(statement)
    }
    return table[1] if table else "", places, shrinking


def _paged(statement: str, parameters: Sequence[Any]) -> bool:
    """Whether rows up to a place are left out: a date or a name, but not the empty one."""
    return any(isinstance(parameters[n], str) and parameters[n] for n in _behind(statement))


@cache
def _behind(statement: str) -> list[int]:
    if statement.startswith("SELECT count("):
        return []
    return [statement.count("?", 0, found.end()) - 1 for found in BEHIND.finditer(statement)]


def _is_date(parameter: Any) -> bool:
    return isinstance(parameter, str) and DATE.match(parameter) is not None


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "microseconds")[:26]


def _seconds(date: str) -> float:
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
