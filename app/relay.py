"""The relay: carries what the store has kept to the engine.

A transactional outbox. Requests only write to the store and poke the relay; what a crash leaves
behind is picked up by the next sweep of any replica. Every row is claimed before it is carried,
and carrying it twice is harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from activities.effect import Env
from app.engine import Engine, EngineConfused, EngineUnavailable
from app.store import inbox, interventions, records

log = logging.getLogger(__name__)

Carrying = Coroutine[Any, Any, None]

BATCH = 64
IN_FLIGHT = 128  # calls to the engine at a time
CLAIM = 10.0  # seconds; longer than a call to the engine may last
RETRY = 1.0  # seconds before a start that failed is tried again


class Relay:
    """Sweeps when poked, and now and then all the same."""

    def __init__(self, env: Env, engine: Engine, interval: float) -> None:
        self._env = env
        self._engine = engine
        self._interval = interval
        self._poked = asyncio.Event()
        self._carrying: set[asyncio.Task[None]] = set()

    def poke(self) -> None:
        """Something was kept; carry it now."""
        self._poked.set()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        try:
            while True:
                self._poked.clear()
                try:
                    more = await self._sweep()
                except Exception:
                    # The store or the engine is away. Nothing is lost by trying again.
                    log.exception("sweep failed")
                    more = False
                if not more:
                    try:
                        await asyncio.wait_for(self._poked.wait(), self._interval)
                    except TimeoutError:
                        continue
        finally:
            for call in self._carrying:
                call.cancel()

    async def _sweep(self) -> bool:
        room = min(BATCH, IN_FLIGHT - len(self._carrying))
        if room <= 0:
            return False
        async with self._env.store.transaction() as tx:
            starts = await records.claim_unscheduled(tx, room, CLAIM)
            events = await inbox.claim_unraised(tx, room)
            answers = await interventions.claim_unraised(tx, room)
        # Not awaited here: an engine that is slow to answer for one must not delay the others.
        for row in starts:
            self._carry(self._start(row))
        for row in events:
            self._carry(self._ring(row["engine_id"], row["name"]))
        for row in answers:
            self._carry(self._ring(row["engine_id"], "intervention"))
        return len(starts) == room or len(events) == room

    def _carry(self, call: Carrying) -> None:
        task = asyncio.create_task(self._carried(call))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carried(self, call: Carrying) -> None:
        try:
            await call
        except Exception:
            # The row stays as it is, and is claimed again.
            log.exception("not carried")

    async def _start(self, record: Any) -> None:
        # A first start that finds its id running has been carried before; a later run must not
        # mistake what is left of the run before it for itself.
        start = self._engine.restart if record["runs"] else self._engine.schedule
        try:
            await start(record["kind"], record["engine_id"], record["input"])
        except EngineConfused as error:
            # Not even by force can the engine forget what it cannot read: the name is burnt.
            log.warning("run under another name: %s", error)
            async with self._env.store.transaction() as tx:
                if record["runs"]:
                    await records.rename(tx, record)
                await records.release(tx, record["id"], RETRY)
            return
        except EngineUnavailable as error:
            log.warning("not scheduled yet: %s", error)
            async with self._env.store.transaction() as tx:
                await records.release(tx, record["id"], RETRY)
            return
        async with self._env.store.transaction() as tx:
            await records.mark_scheduled(tx, record["id"])

    async def _ring(self, id: str, name: str) -> None:
        try:
            await self._engine.ring(id, name)
        except EngineUnavailable as error:
            log.warning("not raised yet: %s", error)
