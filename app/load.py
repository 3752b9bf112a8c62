"""How busy the engine is, and what patience follows: slow is not stuck.

In a queue of `queued` instances of which `rate` a second are served, in no order, each is served
within the next second with a chance of rate / queued. Summed over the time that an instance has
waited, that is how often it should have been served by now. Past `TIMES`, and only then, its
standing still is a sign of anything. Where there is no queue, it should have been by `least`
seconds.

Many that stand still while nothing at all moves are one fault of the engine, and not of each of
them. Then a few are woken: if these move, more are; if they do not, nothing was made worse.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from math import inf

WINDOW = 60.0  # seconds over which progress is counted
CROWD = 20  # instances that are due; fewer are no queue
TIMES = 10.0  # one of 20,000 is still not served by then
CEILING = 50  # instances that one sweep wakes or runs again, at most
PROBES = 3  # those while nothing moves
MOVES = 10  # signs of progress that one woken instance may leave, at most
REMEMBERED = 20_000  # looks at the load; more than a day of them


@dataclass(frozen=True)
class Load:
    """What the store shows of the engine's work."""

    queued: int  # instances of which something is to be heard by now
    moves: int  # signs of progress within `WINDOW`
    woken: int  # of the queued, those that were woken since they last got anywhere


class Brake:
    """Says how late an instance must be, in seconds, and how many may be touched in one sweep."""

    def __init__(self, least: float, interval: float = 0.0) -> None:
        self._least = least
        self._longest = max(10.0, least, 3 * interval)  # between two looks, unless we were stopped
        self._looked_at: datetime | None = None
        self._served: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)  # seconds, times
        self._probed: deque[datetime] = deque()
        self._probes = PROBES
        self.stalled_since: datetime | None = None
        self.patience = inf
        self.busy = False
        self._left = 0

    @property
    def stalled(self) -> bool:
        """Whether many stand still and nothing moves."""
        return self.stalled_since is not None

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
            self.patience, self._left = self._least, self._probe(load)
            return
        self.stalled_since, self.busy = None, rate < often
        self._probes, self._left = PROBES, CEILING
        self.patience = self._waited()

    def touch(self) -> bool:
        """Whether one more instance may be woken or run again in this sweep."""
        if self._left <= 0:
            return False
        self._left -= 1
        if self.stalled and self._looked_at is not None:
            self._probed.append(self._looked_at)
        return True

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

    def _probe(self, load: Load) -> int:
        if load.woken:
            return 0
        probes, self._probes = self._probes, min(CEILING, 2 * self._probes)
        return probes
