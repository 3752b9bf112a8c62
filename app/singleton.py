"""Work that one replica at a time should do, again and again, for as long as it lives.

A lease is no lock: a replica that was paused may believe for a moment that it still holds it. So
whatever runs under it reads again, under the row's own lock, before it changes anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from store import Store, leases

log = logging.getLogger(__name__)

LEASE = 15.0  # seconds; renewed three times as often


class LeaseLost(Exception):
    """Another replica does this work now."""


async def repeat(
    store: Store, name: str, holder: str, interval: float, work: Callable[[], Awaitable[object]]
) -> None:
    """Does `work` every `interval` seconds while this replica holds the lease `name`.

    The lease is renewed during the work; work whose lease was lost is cancelled. What it raises is
    logged and tried again: everything done under a lease may be done again.
    """
    while True:
        await asyncio.sleep(interval)
        try:
            await _once(store, name, holder, work)
        except LeaseLost:
            log.warning("%s: lease lost to another replica", name)
        except Exception:
            log.exception("%s failed", name)


async def _once(
    store: Store, name: str, holder: str, work: Callable[[], Awaitable[object]]
) -> None:
    if not await _acquire(store, name, holder):
        return
    working = asyncio.ensure_future(work())
    try:
        while not working.done():
            await asyncio.wait([working], timeout=LEASE / 3)
            if not working.done() and not await _acquire(store, name, holder):
                raise LeaseLost(name)
        await working
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await working


async def _acquire(store: Store, name: str, holder: str) -> bool:
    async with store.reading() as tx:
        if await leases.is_another_s(tx, name, holder):
            return False
    async with store.transaction() as tx:
        return await leases.acquire(tx, name, holder, LEASE)
