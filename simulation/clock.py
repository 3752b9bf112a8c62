"""The clocks and the chance of everything that runs in a simulation."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import anyio.to_thread
import time_machine

from simulation.loop import Loop

EPOCH = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC, when every simulation begins


class Skew:
    """How far a replica's clock is ahead; it can change while the replica runs."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __radd__(self, at: Any) -> Any:
        from datetime import timedelta

        return at + timedelta(seconds=self.seconds)


async def _inline(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
    return function(*args)


@contextmanager
def world_of(chance: random.Random) -> Iterator[Loop]:
    """A loop; while it is open every clock shows its time, and uuids come from `chance`.

    Threads are gone, too: what the frameworks would hand to one runs at once.
    """
    travel = time_machine.travel(EPOCH, tick=False)
    traveller = travel.start()
    loop = Loop(lambda now: traveller.move_to(EPOCH + now))
    before = time.monotonic, uuid.uuid4, anyio.to_thread.run_sync
    time.monotonic = loop.time
    uuid.uuid4 = lambda: uuid.UUID(int=chance.getrandbits(128), version=4)
    anyio.to_thread.run_sync = cast(Any, _inline)
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        loop.bury()
        asyncio.set_event_loop(None)
        time.monotonic, uuid.uuid4, anyio.to_thread.run_sync = before
        travel.stop()
