"""The one clock of the application, so that time can be another's: two replicas never agree on it.

`skew` is how far this replica's clock is off, in whatever task asks. It is zero in production,
where the machine's clock is what it is, and drawn in the simulation.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

skew: ContextVar[timedelta] = ContextVar("skew", default=timedelta(0))


def now() -> datetime:
    """The time as this replica believes it is, in UTC."""
    return datetime.now(UTC) + skew.get()
