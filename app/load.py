"""How busy the engine is, and what patience follows: slow is not stuck.

In a queue of `queued` instances of which `rate` a second are served, in no order, each is served
within the next second with a chance of rate / queued. Summed over the time that an instance has
waited, that is how often it should have been served by now. Past `TIMES`, and only then, its
standing still is a sign of anything. Where there is no queue, it should have been by `least`
seconds.

Many that stand still while nothing at all moves are one fault of the engine, and not of each of
them. Then a few are woken, and a few that were woken in vain are run again: if these move, more
are; if they do not, a few others after a pause that grows, for as long as it takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from datetime import datetime, timedelta
from math import inf
from typing import Any, Literal

from store.queue import CROWD, WINDOW, Load

TIMES = 10.0  # one of 20,000 is still not served by then
CEILING = 50  # instances that one sweep wakes or runs again, at most
PROBES = 3  # those of each kind while nothing moves
LONGEST = 600.0  # seconds between two tries that were in vain, at most
MOVES = 10  # signs of progress that one woken instance may leave, at most
REMEMBERED = 20_000  # looks at the load; more than a day of them

Repair = Literal["wake", "run"]


class Probes:
    """A few repairs of one kind while nothing moves: more of them only as long as that helps."""

    def __init__(self, least: float) -> None:
        self._size = self._left = PROBES
        self._pause = self._least = least
        self._due: datetime | None = None
        self.tried: dict[str, datetime] = {}  # when each had last got anywhere by then

    def take(self, at: datetime, row: Any) -> bool:
        """Whether one more may be tried; `row` is its record."""
        if self._left <= 0:
            return False
        self._left -= 1
        self._due = self._due or at + timedelta(seconds=self._pause)
        self.tried[row["id"]] = row["progress_at"]
        return True

    def look(self, at: datetime, got_on: Set[str]) -> int:
        """Allows more of them at once if half of them got on, else a few after a pause.

        Says how many more: none unless it helped.
        """
        helped = len(self.tried.keys() & got_on)
        if self.tried and 2 * helped >= self._size - self._left:
            return self.allow(min(CEILING, 2 * self._size), self._least)
        if self._due is not None and at >= self._due:
            self.allow(PROBES, self._least if helped else min(LONGEST, 2 * self._pause))
        return 0

    def allow(self, size: int, pause: float) -> int:
        """Allows so many, and the next ones after a pause of so many seconds."""
        self._size, self._left, self._pause = size, size, pause
        self._due, self.tried = None, {}
        return size


class Brake:
    """Says how late an instance must be, in seconds, and how many may be touched in one sweep."""

    def __init__(self, least: float, interval: float = 0.0) -> None:
        self._least = least
        self._longest = max(10.0, least, 3 * interval)  # between two looks, unless we were stopped
        self._looked_at: datetime | None = None
        self._served: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)  # seconds, times
        self._probed: deque[datetime] = deque()
        self._probes: dict[Repair, Probes] = self._few()
        self.stalled_since: datetime | None = None
        self.patience = inf
        self.busy = False
        self._left = 0

    @property
    def stalled(self) -> bool:
        """Whether many stand still and nothing moves."""
        return self.stalled_since is not None

    @property
    def probed(self) -> dict[str, datetime]:
        """Who is tried while nothing moves, and when each had last got anywhere by then."""
        return self._probes["wake"].tried | self._probes["run"].tried

    def encourage(self) -> None:
        """A person wants it tried again: what was in vain until now counts no more."""
        self._probes = self._few()
        if self.stalled_since is not None:
            self.stalled_since = self._looked_at

    def look(self, at: datetime, load: Load) -> None:
        """Takes note of the load; to be called once a sweep, before anything is touched."""
        since = (at - self._looked_at).total_seconds() if self._looked_at is not None else 0.0
        if since > self._longest:
            # A gap in what we saw means that we were stopped, and others may have been.
            self._served.clear()
            since = 0.0
        self._looked_at = at
        crowd = load.queued >= CROWD
        often = TIMES / self._least
        rate = min(often, load.moves / WINDOW / load.queued) if crowd else often
        self._served.append((since, rate * since))
        if crowd and load.moves <= self._explained(at):
            self.stalled_since, self.busy = self.stalled_since or at, True
            self.patience = self._least
            self._probe(at, load.got_on)
            return
        self.stalled_since, self.busy = None, rate < often
        self._probes, self._left = self._few(), CEILING
        self.patience = self._waited()

    def touch(self, repair: Repair, row: Any) -> bool:
        """Whether one more instance, by its record, may be woken or run again in this sweep."""
        if self._looked_at is not None and self.stalled:
            allowed = self._probes[repair].take(self._looked_at, row)
            if allowed:
                self._probed.append(self._looked_at)
            return allowed
        self._left -= 1
        return self._left >= 0

    def _probe(self, at: datetime, got_on: Set[str]) -> None:
        wakes, runs = self._probes["wake"], self._probes["run"]
        wakes.look(at, got_on)
        if more := runs.look(at, got_on):
            # Whoever is to be run again is woken first, be it in vain.
            wakes.allow(more, self._least)

    def _few(self) -> dict[Repair, Probes]:
        return {"wake": Probes(self._least), "run": Probes(self._least)}

    def _waited(self) -> float:
        """For how long one waits that should have been served `TIMES` times; ever, if none has."""
        seconds = times = 0.0
        for some, served in reversed(self._served):
            if times + served > TIMES - 1e-9:
                return seconds + some * (TIMES - times) / served
            seconds, times = seconds + some, times + served
        return inf

    def _explained(self, at: datetime) -> int:
        """Signs of progress that those whom we have woken may have left."""
        while self._probed and (at - self._probed[0]).total_seconds() > WINDOW:
            self._probed.popleft()
        return MOVES * len(self._probed)
