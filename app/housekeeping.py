"""Housekeeping: what is older than anybody needs is deleted, a few rows at a time."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from pydantic import BaseModel, Field

from store import Store, records, retention

log = logging.getLogger(__name__)

DAY = 86_400.0
BATCH = 100  # records, or rows, deleted in one transaction: the others wait for no longer
BREATH = 0.02  # seconds between two batches, for the others


class Keep(BaseModel):
    """How long what is over is kept, in seconds; what is open is kept for ever.

    An id that is used again after that is a new one, so it is much longer than providers remember
    a key and senders repeat an event.
    """

    records: float = Field(
        default=400 * DAY, ge=30 * DAY, description="after the end, with all that is theirs"
    )
    trail: float = Field(default=7 * 365 * DAY, ge=30 * DAY, description="who did what")
    processes: float = Field(default=30 * DAY, ge=DAY, description="after they were last seen")


class Housekeeping:
    """Deletes what is old; everything else about it is in `store.retention`."""

    def __init__(self, store: Store, keep: Keep) -> None:
        self._store = store
        self._rules: tuple[tuple[retention.Forget, float], ...] = (
            (retention.ended, keep.records),
            (retention.old_attempts, keep.records),
            (retention.old_interventions, keep.records),
            (retention.old_incidents, keep.records),
            (retention.old_findings, keep.records),
            (retention.old_trail, keep.trail),
            (retention.old_processes, keep.processes),
            (retention.old_leases, keep.processes),
        )

    async def sweep(self) -> dict[str, int]:
        """Deletes all that is old enough; returns how much of what."""
        gone = {forget.__name__: await self._all(forget, age) for forget, age in self._rules}
        if any(gone.values()):
            log.info("housekeeping: %s", {name: count for name, count in gone.items() if count})
        return gone

    async def _all(self, forget: retention.Forget, age: float) -> int:
        before, gone = records.now() - timedelta(seconds=age), 0
        while True:
            async with self._store.transaction() as tx:
                count = await forget(tx, before, BATCH)
            gone += count
            if count < BATCH:
                return gone
            await asyncio.sleep(BREATH)
