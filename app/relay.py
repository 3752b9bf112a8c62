"""The relay: carries what the store has kept to the engine, to providers and to people.

A transactional outbox. Requests only write to the store and poke the relay; what a crash leaves
behind is picked up by the next sweep of any replica. Every row is claimed before it is carried,
and carrying it twice is harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from activities.effect import Env, Fault, perform
from activities.notifier import Letter
from activities.payment import Refund
from app.engine import Engine, EngineConfused, EngineUnavailable
from app.store import inbox, interventions, records
from workflows.messages import Answer, Call, Incident

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
        self._at_people: dict[str, asyncio.Task[None]] = {}

    def poke(self) -> None:
        """Something was kept; carry it now."""
        self._poked.set()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeat(self._engine_sweep, self._poked))
                group.create_task(self._repeat(self._people_sweep, None))
        finally:
            for call in (*self._carrying, *self._at_people.values()):
                call.cancel()

    async def _repeat(
        self, sweep: Callable[[], Awaitable[bool]], poked: asyncio.Event | None
    ) -> None:
        poked = poked or asyncio.Event()
        while True:
            poked.clear()
            try:
                more = await sweep()
            except Exception:
                # The store or the engine is away. Nothing is lost by trying again.
                log.exception("sweep failed")
                more = False
            if not more:
                try:
                    await asyncio.wait_for(poked.wait(), self._interval)
                except TimeoutError:
                    continue

    async def _engine_sweep(self) -> bool:
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

    async def _people_sweep(self) -> bool:
        async with self._env.store.reading() as tx:
            late = await inbox.leftovers(tx, BATCH)
            unalerted = await interventions.unalerted(tx, BATCH)
        # Not awaited here either: a provider that hangs must not keep the other alerts back.
        for row in late:
            self._carry_once(f"{row['instance']}/{row['event_id']}", self._settle_late, row)
        for row in unalerted:
            self._carry_once(row["id"], self._alert, row)
        return False

    def _carry_once(self, name: str, carry: Callable[[Any], Carrying], row: Any) -> None:
        # Apart from the calls to the engine: people and providers take none of its places.
        if name not in self._at_people:
            task = self._at_people[name] = asyncio.create_task(self._carried(carry(row)))
            task.add_done_callback(lambda _: self._at_people.pop(name))

    async def _settle_late(self, event: Any) -> None:
        """An event came after the end: agrees with the outcome, or is made good, or is asked."""
        instance = event["instance"]
        if event["type"] == "payment.captured" and event["outcome"] != "FULFILLED":
            call = Call(
                instance=instance, key=f"{instance}/late_refund", undoes=f"{instance}/charge"
            )
            answer = await self._effect("payment.refund", call, Refund())
            if answer is None:
                return
            if not answer.done:
                await self._contradiction(event, f"late refund {answer.result}: {answer.reason}")
        elif event["type"] in CONTRADICTIONS.get(event["outcome"], ()):
            await self._contradiction(event, f"{event['type']} after the end")
        async with self._env.store.transaction() as tx:
            await inbox.consumed(tx, instance, event["event_id"], by="relay")

    async def _contradiction(self, event: Any, reason: str) -> None:
        incident = Incident(
            instance=event["instance"],
            key=f"{event['instance']}/{event['type']}",
            n=1,
            kind="contradiction",
            reason=f"{reason}; the outcome was {event['outcome']}"[:500],
            blocking=False,
        )
        async with self._env.store.transaction() as tx:
            await interventions.open_(tx, incident)

    async def _alert(self, row: Any) -> None:
        call = Call(instance=row["instance"], key=f"{row['id']}/alert")
        letter = Letter(to="on-call", template=f"intervention_{row['kind']}")
        answer = await self._effect("notifier.send", call, letter)
        if answer is None:
            return
        log.error("intervention %s: %s (alert %s)", row["id"], row["reason"], answer.result)
        async with self._env.store.transaction() as tx:
            await interventions.alerted(tx, row["id"])

    async def _effect(self, operation: str, call: Call, body: Any) -> Answer | None:
        try:
            return await perform(self._env, operation, call, body)
        except (Fault, TimeoutError) as fault:
            log.warning("not carried yet: %s: %s", call.key, fault)
            return None


# What a provider may say after the end that cannot both be true with the outcome.
CONTRADICTIONS = {
    "SIGNED": ("signing.declined",),
    "FULFILLED": ("warehouse.not_found", "payment.failed"),
    "COMPENSATED": ("carrier.picked_up",),
    "REFUSED": ("carrier.picked_up",),
}
