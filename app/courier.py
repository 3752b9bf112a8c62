"""The courier: carries what the store has kept to providers and to people.

Alerts of interventions, and events that came after the end of their instance. Apart from the relay
to the engine: a provider that hangs takes none of its places, and keeps no other alert back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from activities.effect import Env, Fault, perform
from activities.notifier import Letter
from activities.payment import Refund
from app.store import inbox, interventions
from workflows.messages import Answer, Call, Incident

log = logging.getLogger(__name__)

Carrying = Coroutine[Any, Any, None]

BATCH = 64


class Courier:
    """Sweeps every so many seconds."""

    def __init__(self, env: Env, interval: float) -> None:
        self._env = env
        self._interval = interval
        self._carrying: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Sweeps until cancelled."""
        try:
            while True:
                try:
                    await self._sweep()
                except Exception:
                    # The store is away. Nothing is lost by trying again.
                    log.exception("sweep failed")
                await asyncio.sleep(self._interval)
        finally:
            for call in self._carrying.values():
                call.cancel()

    async def _sweep(self) -> None:
        async with self._env.store.reading() as tx:
            late = await inbox.leftovers(tx, BATCH)
            unalerted = await interventions.unalerted(tx, BATCH)
        # Not awaited here: a provider that hangs must not keep the others back.
        for row in late:
            self._carry_once(f"{row['instance']}/{row['event_id']}", self._settle_late, row)
        for row in unalerted:
            self._carry_once(row["id"], self._alert, row)

    def _carry_once(self, name: str, carry: Callable[[Any], Carrying], row: Any) -> None:
        if name not in self._carrying:
            task = self._carrying[name] = asyncio.create_task(self._carried(carry(row)))
            task.add_done_callback(lambda _: self._carrying.pop(name))

    async def _carried(self, call: Carrying) -> None:
        try:
            await call
        except Exception:
            # The row stays as it is, and is carried again.
            log.exception("not carried")

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
            await inbox.consumed(tx, instance, event["name"], event["event_id"], by="courier")

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
