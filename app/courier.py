"""The courier: carries what the store has kept to providers and to people.

Notices of interventions, and events that came after the end of their instance. Apart from the relay
to the engine: a provider that hangs takes none of its places, and keeps nobody else's news back.
What is carried is claimed before, so that one replica does; what fails waits longer each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.effect import Env, Fault, perform
from app import notices
from store import attempts, inbox, interventions, records
from store.pauses import CLAIM
from workflows import UnknownKind, Workflow, of_record
from workflows.messages import Answer, Call, Incident

log = logging.getLogger(__name__)

Calls = set[asyncio.Task[None]]
Delivery = Coroutine[Any, Any, None]
Hold = Callable[[AsyncConnection, Any], Coroutine[Any, Any, None]]

AT_ONCE = 64  # of each sort: those of one sort that hang never keep the other back
GIVE_NOTICE = 100  # tries to make a late event good, about a day, before a person is told


class Courier:
    """Sweeps when notified, and every so many seconds all the same."""

    def __init__(self, env: Env, interval: float, pace: notices.Pace | None = None) -> None:
        self._env = env
        self._interval = interval
        self._pace = pace or notices.Pace()
        self._notified = asyncio.Event()
        self._late: Calls = set()
        self._notices: Calls = set()

    def notify(self) -> None:
        """Something was kept that somebody should hear of now."""
        self._notified.set()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        try:
            while True:
                self._notified.clear()
                try:
                    await self.sweep()
                except Exception:
                    # The store is away. Nothing is lost by trying again.
                    log.exception("sweep failed")
                try:
                    await asyncio.wait_for(self._notified.wait(), self._interval)
                except TimeoutError:
                    continue
        finally:
            for call in (*self._late, *self._notices):
                call.cancel()

    async def sweep(self) -> None:
        """Takes what is due and begins to carry it."""
        async with self._env.store.transaction() as tx:
            late = await inbox.claim_late(tx, AT_ONCE - len(self._late))
            untold = await interventions.claim_untold(tx, AT_ONCE - len(self._notices))
        # Not awaited here: a provider that hangs must not keep the others back.
        for row in late:
            self._carry(self._late, self._settle_late(row), inbox.hold_late, row)
        for row in untold:
            self._carry(self._notices, self._tell(row), interventions.hold_untold, row)

    async def idle(self) -> None:
        """Waits until everything that was taken has been carried."""
        while under_way := self._late | self._notices:
            await asyncio.wait(under_way)

    def _carry(self, under_way: Calls, call: Delivery, hold: Hold, row: Any) -> None:
        task = asyncio.create_task(self._carried(call, hold, row))
        # Where all places were taken, there may be others that wait for one.
        full = len(under_way) == AT_ONCE - 1
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        if full:
            task.add_done_callback(lambda _: self.notify())

    async def _carried(self, call: Delivery, hold: Hold, row: Any) -> None:
        working = asyncio.create_task(call)
        try:
            while not (await asyncio.wait([working], timeout=CLAIM / 2))[0]:
                async with self._env.store.transaction() as tx:
                    await hold(tx, row)
            await working
        except Exception:
            # The row stays as it is, and is carried again.
            log.exception("not carried")
        finally:
            working.cancel()

    async def _settle_late(self, event: Any) -> None:
        """An event came after the end: it is made good, or asked about, or changes nothing."""
        try:
            workflow = of_record(event)
        except UnknownKind as unknown:
            # Another release may know it; for as long as that is not there, a person has to.
            if event["raises"] >= GIVE_NOTICE:
                await self._contradiction(event, f"{event['type']} after the end: {unknown}")
            return
        made_of = workflow.made_of(event["type"], event["outcome"])
        if made_of == "undo" and not await self._undo_late(event, workflow):
            return
        if made_of == "ask":
            await self._contradiction(event, f"{event['type']} after the end")
        by = "ignored" if made_of == "nothing" else "courier"
        async with self._env.store.transaction() as tx:
            await inbox.consumed(tx, event["instance"], event["name"], event["event_id"], by=by)

    async def _undo_late(self, event: Any, workflow: Workflow) -> bool:
        """Takes back what came after the end; `False` while that is still to be done."""
        late = workflow.late[event["type"]]
        step, undo = late.undoes, late.undo
        assert step is not None
        assert undo is not None
        instance, name = event["instance"], undo.name
        undoes = f"{instance}/{step.name}"
        call = Call(instance=instance, key=f"{instance}/{name}", undoes=undoes)
        answer = await self._effect(undo.do, call, {})
        if answer is None or answer.result == "pending":
            if event["raises"] >= GIVE_NOTICE:
                await self._contradiction(event, f"{name} is still not made")
            return False
        if not answer.done:
            await self._contradiction(event, f"{name} {answer.result}: {answer.reason}")
        return True

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
        self.notify()

    async def _tell(self, row: Any) -> None:
        """Sends what is due of an intervention; what was not accepted stays due."""
        due = notices.due(row, self._pace, records.now())
        accepted = [await self._accepted(row, notice) for notice in due]
        if all(accepted):
            async with self._env.store.transaction() as tx:
                known = dict(await interventions.get(tx, row["id"]) or row)
                await interventions.tell_again(tx, row["id"], notices.following(known, self._pace))

    async def _accepted(self, row: Any, notice: notices.Notice) -> bool:
        call = Call(instance=row["instance"], key=notice.key)
        answer = await self._effect("notifier.send", call, notice.letter)
        if answer is None or not answer.done:
            said = f"{answer.result}: {answer.reason}" if answer else "nothing"
            log.error("%s was not accepted, try %d: %s", call.key, row["alert_tries"] + 1, said)
            return False
        log.error("intervention %s: %s (%s)", row["id"], row["reason"], notice.letter["template"])
        async with self._env.store.transaction() as tx:
            await interventions.told(tx, row["id"], **notice.then)
            if notice.before:
                await attempts.forget(tx, notice.before)
        return True

    async def _effect(self, operation: str, call: Call, body: Any) -> Answer | None:
        try:
            return await perform(self._env, operation, call, body)
        except (Fault, TimeoutError) as fault:
            log.warning("not carried yet: %s: %s", call.key, fault)
            return None
        finally:
            async with self._env.store.transaction() as tx:
                await attempts.condense(tx, call.key)
