"""Money that is not ours, by its record, is given back: first the row, then the money."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.effect import Env, Fault, look_up, perform
from activities.payment import CHARGE, REFUND
from app.audit.notes import NAME, judged, row_of
from app.settings import Settings
from store import cursors, findings, interventions, records
from workflows.messages import Answer, Call, Incident

log = logging.getLogger(__name__)

HOUR = timedelta(hours=1)
BATCH = 200


class Refunds:
    """Gives back what the sweep found to be owed."""

    def __init__(self, env: Env, settings: Settings) -> None:
        self._env = env
        self._patience = timedelta(seconds=settings.audit_after)
        self._interval = timedelta(seconds=settings.audit_interval)
        self._ceiling = settings.audit_ceiling

    async def sweep(self, report: Counter[str]) -> None:
        """Tries each that is due; a provider that does not answer ends it, until the next one."""
        async with self._env.store.reading() as tx:
            rows = await findings.due(tx, ("owed", "refunding"), records.now(), BATCH)
        for row in rows:
            try:
                report[await self._give_back(row["key"], row["instance"])] += 1
            except (Fault, TimeoutError) as fault:
                log.info("audit: %s", fault)
                return

    async def _give_back(self, key: str, instance: str) -> str:
        """One charge, if it is owed still; returns what came of it.

        Raises:
            Fault: the provider did not say; asked again with the same key.
            TimeoutError: the same.
        """
        known = await look_up(self._env, CHARGE, key)
        standing = known is not None and known.result in ("applied", "pending")
        # Killed between the row and the money, the next sweep finds it under way.
        async with self._env.store.transaction() as tx:
            became = await self._permit(tx, key, instance, standing)
        if became != "refunding":
            return became
        # A key of its own: the order's refund may have closed the charge before the money came.
        call = Call(instance=instance, key=f"{key}/audit_refund", undoes=key)
        answer = await perform(self._env, REFUND, call, {})
        async with self._env.store.transaction() as tx:
            return await _answered(tx, key, answer)

    async def _permit(self, tx: AsyncConnection, key: str, instance: str, standing: bool) -> str:
        """Decides under the locks, on what is true now: `refunding`, or what it became instead."""
        at = records.now()
        await cursors.get(tx, NAME, lock=True)
        await records.get(tx, instance, lock=True)
        row = await findings.get(tx, key, lock=True)
        if row is None or row["state"] not in ("owed", "refunding"):
            return "fine"
        begun = row["state"] == "refunding"
        if not begun and not standing:
            await findings.drop(tx, [key])
            return "fine"
        [(_, _, verdict)] = await judged(tx, {key: instance}, self._patience)
        if verdict.word == "fine":
            await findings.change(tx, key, state="settled", why=verdict.why, settled_at=at)
            return "settled"
        if verdict.word != "refund":
            await findings.change(tx, **row_of(key, instance, verdict, at, at + self._patience))
            return verdict.word
        if not begun:
            if await _spent(tx, at) >= self._ceiling:
                why = f"{verdict.why}, and {self._ceiling} others were refunded within the hour"
                await findings.change(tx, key, state="found", why=why, look_at=None)
                return "ask"
            await interventions.open_(tx, _told(key, row))
        await findings.change(tx, key, state="refunding", look_at=at + self._interval)
        return "refunding"


async def _spent(tx: AsyncConnection, at: datetime) -> int:
    """Refunds that are under way, and those of the last hour."""
    return await findings.count(tx, "refunding") + await findings.count(tx, "refunded", at - HOUR)


def _told(key: str, row: Any) -> Incident:
    """Nobody has to answer; somebody has to know that an order lost track of its money."""
    return Incident(
        instance=row["instance"],
        key=f"{key}/audit",
        n=1,
        kind="unaccounted",
        reason=f"money was taken as {key}, but {row['why']}; it is given back",
        blocking=False,
    )


async def _answered(tx: AsyncConnection, key: str, answer: Answer) -> str:
    if answer.done:
        at = records.now()
        await findings.change(tx, key, state="refunded", look_at=None, settled_at=at)
        return "refunded"
    if answer.result == "pending":
        return "refunding"
    why = f"its refund was {answer.result}: {answer.reason}"
    await findings.change(tx, key, state="found", why=why[:500], look_at=None)
    return "ask"
