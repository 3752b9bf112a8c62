"""How long to leave alone what was tried in vain."""

from __future__ import annotations

from datetime import timedelta

CLAIM = 5.0  # seconds; by then whoever took something has carried it, failed, or died
LONGEST = 900.0  # seconds between two tries


def pause(tries: int, longest: float = LONGEST) -> timedelta:
    """The pause after so many tries: twice as long each time, up to `longest` seconds."""
    return timedelta(seconds=min(longest, 2.0 ** min(tries, 30)))


def claim(tries: int) -> timedelta:
    """How long who takes something for the so-manieth time keeps it from others.

    The claim is the pause before the next try: whoever fails, or dies, has nothing to give back.
    """
    return max(timedelta(seconds=CLAIM), pause(tries))
