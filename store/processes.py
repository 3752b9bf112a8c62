"""The lives of our processes, so that what one of them left unfinished is told from work."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import Store, insert_once, records
from store.attempts import LIFE
from store.schema import processes

log = logging.getLogger(__name__)

BEAT = LIFE / 8  # seconds between signs of life
REMEMBERED = timedelta(days=1)  # longer than anything that still asks whether a life is over


async def begin(tx: AsyncConnection, id: str, replica: str) -> None:
    """A replica begins a life, which ends those that it had before."""
    at = records.now()
    await tx.execute(
        update(processes)
        .where(processes.c.replica == replica, processes.c.id != id, processes.c.ended_at.is_(None))
        .values(ended_at=at)
    )
    await insert_once(
        tx, processes, {"id": id, "replica": replica, "started_at": at, "seen_at": at}
    )


async def beat(store: Store, id: str) -> None:
    """Gives signs of life until cancelled."""
    while True:
        await asyncio.sleep(BEAT)
        try:
            async with store.transaction() as tx:
                await seen(tx, id)
        except Exception:
            # The store is away; so is what this would be compared with.
            log.exception("no sign of life given")


async def seen(tx: AsyncConnection, id: str) -> None:
    """One sign of life; forgets lives that are long over."""
    at = records.now()
    await tx.execute(update(processes).where(processes.c.id == id).values(seen_at=at))
    await tx.execute(delete(processes).where(processes.c.seen_at < at - REMEMBERED))
