"""One look at the charges since the last one, and again at those that were not final.

A machine gives nothing back because it does not know. A charge without a record may be a lost
database, last night's backup, or another application's account: that is a person's, in one
intervention for all of it. Only a record that says so is refunded, and few an hour.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import prometheus_client
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.effect import Env, Fault
from activities.payment import ListedCharge, charges
from app.audit.notes import NAME, judged, row_of, subject
from app.audit.refunds import Refunds
from app.settings import Settings
from store import cursors, findings, interventions, records
from workflows.messages import Incident

log = logging.getLogger(__name__)

AUDITED = prometheus_client.Counter(
    "steadfast_audited", "Charges by what the audit thought or did of them", ["what"]
)

HORIZON = timedelta(days=30)  # how far back the very first look goes
BATCH = 200
LISTED = 50  # keys in an intervention's text; it counts the others, and the API lists them


class Audit:
    """Sweeps; killed anywhere, the next one goes on from the last page."""

    def __init__(self, env: Env, settings: Settings) -> None:
        self._env = env
        self._patience = timedelta(seconds=settings.audit_after)
        self._refunds = Refunds(env, settings)

    async def sweep(self) -> Counter[str]:
        """Reads on, looks again, gives back, asks; counts what became of the charges."""
        report: Counter[str] = Counter()
        async with self._env.store.reading() as tx:
            pending = await findings.pending(tx, records.now())
        if pending & {"found", "asked"}:
            await self._hear_and_ask(report)
        await self._read_on(report)
        if pending & {"waiting", "asked"}:  # retry lets what was asked wait again
            await self._look_again(report)
        if pending & {"owed", "refunding"} or report["refund"]:
            await self._refunds.sweep(report)
        if report["ask"]:
            await self._hear_and_ask(report)
        for what, count in report.items():
            AUDITED.labels(what).inc(count)
        report = +report
        if report.keys() - {"fine", "wait"}:
            log.warning("audit: %s", dict(report))
        return report

    async def _read_on(self, report: Counter[str]) -> None:
        ripe_before = records.now() - self._patience
        async with self._env.store.reading() as tx:
            last = await cursors.get(tx, NAME)
        begin = last["at"] if last else records.now() - HORIZON
        seen = (last["at"], last["after"]) if last else None
        try:
            async with aclosing(charges(self._env, begin)) as pages:
                async for page in pages:
                    ripe = [one for one in page if one.at <= ripe_before]
                    fresh = [one for one in ripe if (one.at, subject(one)[0]) != seen]
                    if fresh:
                        await self._note(fresh, report)
                    if len(ripe) < len(page):
                        return
        except (Fault, TimeoutError) as fault:
            log.info("audit: %s", fault)

    async def _note(self, page: Sequence[ListedCharge], report: Counter[str]) -> None:
        """Keeps what is not accounted for, and that the page was read, in one transaction."""
        at = records.now()
        taken = dict(subject(one) for one in page if one.result in ("applied", "pending"))
        async with self._env.store.transaction() as tx:
            for key in await findings.known(tx, taken):
                del taken[key]
            verdicts = await judged(tx, taken, self._patience)
            open_ = [each for each in verdicts if each[-1].word != "fine"]
            await findings.add(tx, [row_of(*each, at, at + self._patience) for each in open_])
            await cursors.advance(tx, NAME, page[-1].at, subject(page[-1])[0])
        report.update(verdict.word for _, _, verdict in verdicts)

    async def _look_again(self, report: Counter[str]) -> None:
        at = records.now()
        while True:
            async with self._env.store.transaction() as tx:
                rows = await findings.due(tx, ("waiting",), at, BATCH)
                await self._reconsider(tx, rows, at, report)
            if len(rows) < BATCH:
                return

    async def _reconsider(
        self, tx: AsyncConnection, rows: Sequence[Any], at: datetime, report: Counter[str]
    ) -> None:
        found_at = {row["key"]: row["found_at"] for row in rows}
        fine, later = [], []
        asked_about = {row["key"]: row["instance"] for row in rows}
        for key, instance, verdict in await judged(tx, asked_about, self._patience):
            if verdict.word == "fine":
                fine.append(key)
            elif verdict.word == "wait":
                # Ever more seldom: an order that takes days is looked at a dozen times.
                later.append((key, at + max(self._patience, (at - found_at[key]) / 2)))
            else:
                await findings.change(tx, **row_of(key, instance, verdict, at, at))
                report[verdict.word] += 1
        await findings.drop(tx, fine)
        await findings.postpone(tx, later)

    async def _hear_and_ask(self, report: Counter[str]) -> None:
        """A person's answer is about what was listed at first: what came since is asked anew.

        Nobody knows when the person read it, and it may have grown while they did.
        """
        at = records.now()
        async with self._env.store.transaction() as tx:
            last = await interventions.latest(tx, NAME)
            left = 0
            if last is not None and last["action"] is not None:
                report["settled"] += await _obey(tx, last, at)
                left = await findings.count(tx, "asked")
            elif last is not None:
                # Later than its opening, by whichever clock.
                at = max(at, last["opened_at"] + timedelta(microseconds=1))
            new = await findings.move(tx, "found", state="asked", found_at=at)
            if new or left:
                await _ask(tx, last)
        report["asked"] += new


async def _obey(tx: AsyncConnection, answered: Any, at: datetime) -> int:
    if answered["action"] == "settled":
        until = answered["opened_at"]
        return await findings.move(tx, "asked", until=until, state="settled", settled_at=at)
    await findings.move(tx, "asked", state="waiting", look_at=at)
    return 0


async def _ask(tx: AsyncConnection, last: Any | None) -> None:
    """One intervention for all of it; while it is open it grows."""
    reason = await _listed(tx)
    if last is not None and last["action"] is None:
        await interventions.reword(tx, last["id"], reason)
        return
    n = 1 if last is None else int(last["id"].rpartition("/")[2]) + 1
    incident = Incident(
        instance="-", key=NAME, n=n, kind="unaccounted", reason=reason, blocking=False
    )
    await interventions.open_(tx, incident)


async def _listed(tx: AsyncConnection) -> str:
    total = await findings.count(tx, "asked")
    by_reason: dict[str, list[str]] = {}
    for row in await findings.page(tx, state="asked", after=None, limit=LISTED):
        by_reason.setdefault(row["why"], []).append(row["key"])
    listed = "; ".join(f"{why}: {', '.join(keys)}" for why, keys in by_reason.items())
    more = f"; and {total - LISTED} more" if total > LISTED else ""
    return f"money was taken {total} times that nothing here accounts for. {listed}{more}"
