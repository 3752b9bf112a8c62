"""The relay: carries what the store has kept to the engine.

A transactional outbox. Requests only write to the store and notify the relay; what a crash leaves
behind is picked up by the next sweep of any replica. Every row is claimed before it is carried,
and carrying it twice is harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from activities.effect import Env
from app.engine import ENDED, Engine, EngineConfused, EngineStalled, EngineUnavailable
from store import desired_state, inbox, interventions, records

log = logging.getLogger(__name__)

Carrying = Coroutine[Any, Any, object]

BATCH = 64
IN_FLIGHT = 128  # calls to the engine at a time
CLAIM = 10.0  # seconds; longer than a call to the engine may last
IN_THE_WAY = 3  # starts that fail before it is asked what is left of a run before
UNREADABLE, STALLED = "UNREADABLE", "STALLED"
NAMES = 3  # that an instance is given in the engine, at most; then it is a person's


class Relay:
    """Sweeps when notified, and now and then all the same."""

    def __init__(self, env: Env, engine: Engine, interval: float) -> None:
        self._env = env
        self._engine = engine
        self._interval = interval
        self._notified = asyncio.Event()
        self._carrying: set[asyncio.Task[None]] = set()

    def notify(self) -> None:
        """Something was kept; carry it now."""
        self._notified.set()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        try:
            while True:
                self._notified.clear()
                try:
                    more = await self.sweep()
                except Exception:
                    # The store or the engine is away. Nothing is lost by trying again.
                    log.exception("sweep failed")
                    more = False
                if not more:
                    try:
                        await asyncio.wait_for(self._notified.wait(), self._interval)
                    except TimeoutError:
                        continue
        finally:
            for call in self._carrying:
                call.cancel()

    async def sweep(self) -> bool:
        """Sets out to carry what is due; says whether there is more of it."""
        room = min(BATCH, IN_FLIGHT - len(self._carrying))
        if room <= 0:
            return False
        async with self._env.store.transaction() as tx:
            starts = await records.claim_unscheduled(tx, room, CLAIM)
            events = await inbox.claim_unraised(tx, room)
            answers = await interventions.claim_unraised(tx, room)
            wanted = await desired_state.claim(tx, room)
        # Not awaited here: an engine that is slow to answer for one must not delay the others.
        for row in starts:
            self._carry(self._start(row))
        for row in events:
            self._carry(self._raise_event(row["engine_id"], row["name"]))
        for row in answers:
            self._carry(self._raise_event(row["engine_id"], "intervention"))
        for row in wanted:
            self._carry(self._bring_to_agree(row))
        return len(starts) == room or len(events) == room

    async def carried(self) -> None:
        """Waits for everything that is under way just now."""
        if self._carrying:
            await asyncio.wait(list(self._carrying))

    async def control(self, id: str) -> bool:
        """Brings the engine to agree with what an operator wants; `False` if it does not yet."""
        async with self._env.store.reading() as tx:
            record = await records.get(tx, id)
        return record is not None and await self._bring_to_agree(record)

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
        except EngineUnavailable as error:
            log.warning("not scheduled yet: %s", error)
            left = await self._left(record, error)
            burnt = left and record["runs"] and await self._is_burnt(record, left)
            async with self._env.store.transaction() as tx:
                await records.release(tx, record)
                if burnt:
                    await records.rename(tx, record)
                elif left:
                    await records.ran(tx, record)
            return
        async with self._env.store.transaction() as tx:
            await records.mark_scheduled(
                tx, record["id"], runs=record["runs"], engine_id=record["engine_id"]
            )
            if record["start_failures"]:
                await interventions.heal(tx, f"{record['id']}/start")

    async def _left(self, record: Any, error: EngineUnavailable) -> str | None:
        """What is left of a run and stands in the way of the next, if anything; asked now and then.

        It cannot be read while all others can; or it has ended, and its actor lets nothing in.
        That a start fails is no sign of either: a store that can be read may not be written to.
        """
        confused = isinstance(error, EngineConfused)
        if not confused or (record["start_failures"] + 1) % IN_THE_WAY:
            return None
        try:
            state = await self._engine.state(record["engine_id"])
        except EngineConfused:
            return UNREADABLE if await self._engine.answers() else None
        except EngineUnavailable as unread:
            log.warning("not read: %s", unread)
            return None
        over = state is None or state.status in ENDED
        return STALLED if over and isinstance(error, EngineStalled) else None

    async def _is_burnt(self, record: Any, left: str) -> bool:
        """Whether what is left of a run cannot be got out of the way.

        Then its name is given up, a few times at most: whatever can be read again might run on.
        """
        if len(records.names_before(record)) + 1 >= NAMES:
            return False
        if left == STALLED:
            return True  # a purge by force does not reach its actor
        try:
            await self._engine.forget(record["engine_id"])
        except EngineConfused as error:
            log.warning("run under another name: %s", error)
            return await self._engine.answers()
        except EngineUnavailable as error:
            log.warning("not removed: %s", error)
        return False

    async def _raise_event(self, id: str, name: str) -> None:
        try:
            await self._engine.raise_event(id, name)
        except EngineUnavailable as error:
            log.warning("not raised yet: %s", error)

    async def _bring_to_agree(self, record: Any) -> bool:
        """An operator's wish stands in the record; what the engine missed is told again."""
        by = record["terminated_by"]
        try:
            if by is not None:
                await self._engine.stop(record["engine_id"])
            else:
                await self._engine.rest(record["engine_id"], record["suspended"])
        except EngineUnavailable as error:
            log.warning("not agreed yet: %s", error)
            # What nobody can read takes no step either.
            confused = isinstance(error, EngineConfused) and await self._engine.answers()
            if by is None or not confused:
                return False
        async with self._env.store.transaction() as tx:
            if by is not None:
                await desired_state.end_terminated(tx, record["id"], by)
            await desired_state.agreed(tx, record)
        return True
