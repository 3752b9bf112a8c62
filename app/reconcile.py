"""The reconciler: finds what everybody else forgot, and climbs the ladder with it.

The engine's instance is disposable; the id, the keys and the inbox are not. An instance that gets
nowhere is woken; if that does not help, or the engine has failed or lost it, it is run again under
the same id; after two such runs a person is asked. Many that fail alike are a bad deployment: then
the ladder stops, because running them again would only fail them again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.effect import Env
from app import singleton
from app.audit import undo_without_engine
from app.engine import ENDED, Engine, EngineConfused, EngineUnavailable
from app.settings import Settings
from app.store import interventions, ladder, records
from workflows.messages import Ending, Incident

log = logging.getLogger(__name__)

Noting = Callable[[AsyncConnection, str], Awaitable[None]]

RECONCILED = Counter("steadfast_reconciled", "Instances by what the reconciler did", ["what"])

BATCH = 200
MAX_RUNS = 2  # times an instance is run again before a person is asked
PROBE = 10  # instances that failed alike and are run again in one sweep
BAD_DEPLOYMENT = 3  # that failed alike although they were run again


@dataclass
class Report:
    """What one sweep did, by the ids of the instances."""

    woken: list[str] = field(default_factory=list)
    run_again: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    reconciled: list[str] = field(default_factory=list)
    purged: list[str] = field(default_factory=list)
    bad_deployment: list[str] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, list[str]]:
        """For a log line or a command's output."""
        return asdict(self)

    @property
    def empty(self) -> bool:
        """Whether there was nothing to do."""
        return not any(self.as_dict().values())


class Reconciler:
    """Sweeps for as long as it holds the lease."""

    def __init__(self, env: Env, engine: Engine, settings: Settings, poke: Callable[[], None]):
        self._env = env
        self._engine = engine
        self._settings = settings
        self._poke = poke
        self._ringing: dict[str, asyncio.Task[None]] = {}

    async def run(self, holder: str) -> None:
        """Sweeps again and again until cancelled; one replica at a time does."""
        interval = self._settings.reconcile_interval
        try:
            await singleton.repeat(
                self._env.store, "reconciler", holder, interval, lambda: self.sweep(interval)
            )
        finally:
            for ringing in self._ringing.values():
                ringing.cancel()

    async def sweep(self, patience: float | None = None) -> Report:
        """One look at everything; killed anywhere, the next one goes on.

        An engine that is slow to answer for one instance must not delay the others: after
        `patience` seconds its calls go on by themselves. Without, all are waited for.
        """
        report = Report()
        await self._climb(report)
        await self._retry_held(report)
        await self._purge(report)
        if self._ringing:
            await asyncio.wait(self._ringing.values(), timeout=patience)
        if not report.empty:
            self._poke()
            log.warning("reconciler: %s", {k: v for k, v in report.as_dict().items() if v})
        for name, ids in report.as_dict().items():
            RECONCILED.labels(name).inc(len(ids))
        return report

    async def _climb(self, report: Report) -> None:
        async with self._env.store.reading() as tx:
            found = await ladder.stalled(tx, self._settings.stall_after, BATCH)
            rows = [dict(row) for row in found]
        failed: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            try:
                state = await self._engine.state(row["engine_id"])
            except EngineConfused as error:
                log.warning("reconciler: %s", error)
                await self._wake(row, report)
                continue
            except EngineUnavailable as error:
                log.info("reconciler: %s", error)
                continue
            status = state.status if state else "MISSING"
            if status in ("SUSPENDED", "STALLED"):
                report.left_alone.append(row["id"])
            elif status in ENDED or status == "MISSING":
                cause = state.failure if state and state.failure else status
                failed[_signature(cause)].append((row, cause))
            else:
                await self._wake(row, report)
        for signature, members in failed.items():
            await self._run_failed_again(signature, members, report)

    async def _wake(self, row: Any, report: Report) -> None:
        if row["woken_at"] is not None:
            patience = timedelta(seconds=self._settings.stall_after)
            if records.now() - row["woken_at"] > patience:
                await self._run_again(row, "it got nowhere after it was woken", report)
            return
        if self._ring(row, "wake", then=ladder.woken):
            report.woken.append(row["id"])

    async def _run_failed_again(self, signature: str, members: list[Any], report: Report) -> None:
        if await self._stopped(signature, members):
            report.bad_deployment.extend(row["id"] for row, _ in members)
            return
        # A few first: what made these fail may fail the rest as well.
        for row, cause in members[:PROBE]:
            await self._run_again(row, cause, report)

    async def _stopped(self, signature: str, members: list[Any]) -> bool:
        """Whether instances that fail alike are left alone, until a person says retry."""
        key = f"engine/{signature}"
        async with self._env.store.transaction() as tx:
            asked = [one for one in await interventions.of_instance(tx, "-") if one["key"] == key]
            last = asked[-1] if asked else None
            if last is not None and last["action"] is None:
                return True
            before_answer = [
                row
                for row, _ in members
                if last is not None and row["progress_at"] < last["answered_at"]
            ]
            for row in before_answer:
                row["runs"] = 0  # each has its two runs again
            again = [row for row, _ in members if row["runs"] > 0]
            if len(again) < BAD_DEPLOYMENT or signature in ("MISSING", "TERMINATED"):
                return False
            incident = Incident(
                instance="-",
                key=key,
                n=len(asked) + 1,
                kind="bad_deployment",
                reason=f"{len(members)} instances fail alike: {members[0][1]}"[:500],
                blocking=False,
            )
            await interventions.open_(tx, incident)
        return True

    async def _run_again(self, row: Any, cause: str, report: Report) -> None:
        id, runs = row["id"], row["runs"]
        if runs >= MAX_RUNS:
            await self._ask_a_person(row, cause, report)
            return
        async with self._env.store.transaction() as tx:
            await ladder.run_again(tx, id, runs=runs + 1)
        report.run_again.append(id)

    async def _ask_a_person(self, row: Any, cause: str, report: Report) -> None:
        """The answer comes back here: `retry` starts the ladder anew, `settled` ends the record."""
        id = row["id"]
        async with self._env.store.transaction() as tx:
            asked = [
                one for one in await interventions.of_instance(tx, id) if one["kind"] == "stuck"
            ]
            last = asked[-1] if asked else None
            if last is not None and row["waiting_for"] == last["id"] and last["action"]:
                if last["action"] == "retry":
                    await ladder.run_again(tx, id, runs=1)
                    report.run_again.append(id)
                else:
                    await records.end(tx, Ending(instance=id, outcome="SETTLED", reason=cause))
                return
        undone = await undo_without_engine(self._env, row)
        incident = Incident(
            instance=id,
            key=f"{id}/engine",
            n=len(asked) + 1,
            kind="stuck",
            reason=f"run again {MAX_RUNS} times in vain: {cause}; {undone}"[:500],
        )
        async with self._env.store.transaction() as tx:
            await interventions.open_(tx, incident)
            await ladder.park(tx, id, incident.id)
        report.parked.append(id)

    async def _retry_held(self, report: Report) -> None:
        before = records.now() - timedelta(seconds=self._settings.reconcile_interval)
        async with self._env.store.reading() as tx:
            rows = await ladder.held(tx, before, BATCH)
        for row in rows:
            if self._ring(row, "reconcile"):
                report.reconciled.append(row["id"])

    async def _purge(self, report: Report) -> None:
        before = records.now() - timedelta(seconds=self._settings.retention)
        async with self._env.store.reading() as tx:
            rows = await ladder.forgettable(tx, before, BATCH)
        for row in rows:
            try:
                state = await self._engine.state(row["engine_id"])
                if state is not None and state.status not in ENDED:
                    continue
                if state is not None:
                    await self._engine.purge(row["engine_id"])
            except EngineUnavailable as error:
                log.info("reconciler: %s", error)
                continue
            async with self._env.store.transaction() as tx:
                await ladder.forgotten(tx, row["id"])
            report.purged.append(row["id"])

    def _ring(self, row: Any, name: str, then: Noting | None = None) -> bool:
        """Rings in the background; not twice at a time for one instance."""
        id = row["id"]
        if id in self._ringing:
            return False
        task = asyncio.create_task(self._rung(row, name, then))
        self._ringing[id] = task
        task.add_done_callback(lambda _: self._ringing.pop(id))
        return True

    async def _rung(self, row: Any, name: str, then: Noting | None) -> None:
        try:
            try:
                await self._engine.ring(row["engine_id"], name)
            except EngineUnavailable as error:
                log.info("reconciler: %s", error)
            if then is not None:
                async with self._env.store.transaction() as tx:
                    await then(tx, row["id"])
        except Exception:
            # The next sweep finds it as it was.
            log.exception("reconciler: %s was not rung", row["id"])


def _signature(cause: str) -> str:
    """What failures of one kind have in common: the message without ids and numbers."""
    if cause in ("MISSING", *ENDED):
        return cause
    alike = re.sub(r"[0-9a-f]{8,}|\d+", "#", cause)
    return hashlib.sha256(alike.encode()).hexdigest()[:12]
