"""The reconciler: finds what everybody else forgot, and brings it back.

Sweeps of several kinds, each with a lease and a rhythm of its own, so that one that fails or is
slow keeps no other from its work. The ladder is in `climb.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.effect import Env
from app import last_resort, singleton
from app.climb import Climb, tell
from app.engine import ENDED, Engine, EngineConfused, EngineUnavailable
from app.settings import Settings
from store import interventions, ladder, records
from store.queue import CROWD

log = logging.getLogger(__name__)

Noting = Callable[[AsyncConnection], Awaitable[None]]

RECONCILED = Counter("steadfast_reconciled", "Instances by what the reconciler did", ["what"])

BATCH = 200
AGAIN = 2  # starts that fail while the engine answers: the first may have begun before it did
SELDOM = 5  # sweeps of the ladder to one of those that are in no hurry
STARTS = "engine/starts"  # the key of what is asked when many cannot be started


@dataclass
class Report:
    """What one sweep did, by the ids of the instances."""

    woken: list[str] = field(default_factory=list)
    run_again: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    reconciled: list[str] = field(default_factory=list)
    purged: list[str] = field(default_factory=list)
    bad_deployment: list[str] = field(default_factory=list)
    unstarted: list[str] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, list[str]]:
        """For a log line or a command's output."""
        return asdict(self)

    @property
    def empty(self) -> bool:
        """Whether there was nothing to do."""
        return not any(self.as_dict().values())


class Signaller:
    """Rings instances in the background, and never one twice at a time."""

    def __init__(self, env: Env, engine: Engine) -> None:
        self._env = env
        self._engine = engine
        self._raising: dict[str, asyncio.Task[None]] = {}

    def raise_event(self, row: Any, name: str, then: Noting) -> bool:
        """Begins to raise it, notes when that is done; `False` if it is under way already."""
        id = row["id"]
        if id in self._raising:
            return False
        task = asyncio.create_task(self._rung(row, name, then))
        self._raising[id] = task
        task.add_done_callback(lambda _: self._raising.pop(id))
        return True

    async def silence(self) -> None:
        """Waits until nothing is being raised any more."""
        if self._raising:
            await asyncio.wait(list(self._raising.values()))

    def cancel(self) -> None:
        """Stops ringing."""
        for task in self._raising.values():
            task.cancel()

    async def _rung(self, row: Any, name: str, then: Noting) -> None:
        try:
            await self._engine.raise_event(row["engine_id"], name)
            async with self._env.store.transaction() as tx:
                await then(tx)
        except EngineUnavailable as error:
            log.info("reconciler: %s", error)
        except Exception:
            # The next sweep finds it as it was.
            log.exception("reconciler: %s was not told", row["id"])


class Reconciler:
    """Every sweep is made by one replica at a time; killed anywhere, the next one goes on."""

    def __init__(self, env: Env, engine: Engine, settings: Settings, notify: Callable[[], None]):
        self._env = env
        self._engine = engine
        self._settings = settings
        self._notify = notify
        self._signaller = Signaller(env, engine)
        self._climb = Climb(env, engine, settings, self._signaller.raise_event)
        self._purged_to: ladder.Place | None = None
        self._held_to: ladder.Place | None = None
        self._told_to: datetime | None = None
        self._renamed_to = ""
        self._refused: dict[str, int] = {}  # failed starts, when the engine answered for the first

    def loops(self, holder: str) -> list[Coroutine[Any, Any, None]]:
        """Each sweeps again and again until cancelled, on its own: none of them ends another."""
        often = self._settings.reconcile_interval
        rhythms = {
            "last_resort": (often, self._give_up),
            "held": (often, self._retry_held),
            "starts": (often * SELDOM, self._tell_of_starts),
            "purge": (often * SELDOM, self._purge),
            "names": (often * SELDOM, self._stop_burnt_names),
            "adopt": (often * SELDOM, self._adopt),
        }
        others = [
            singleton.repeat(self._env.store, name, holder, interval, partial(self._one, work))
            for name, (interval, work) in rhythms.items()
        ]
        return [self._climb_on(holder, often), *others]

    async def _climb_on(self, holder: str, often: float) -> None:
        sweep = partial(self._one, self._climb.sweep)
        try:
            await singleton.repeat(self._env.store, "ladder", holder, often, sweep)
        finally:
            self._signaller.cancel()

    async def sweep(self) -> Report:
        """One look at everything, whoever holds the leases; waits for all that it has begun."""
        report = Report()
        for work in (
            self._climb.sweep_at_once,
            self._give_up,
            self._retry_held,
            self._tell_of_starts,
            self._purge,
            self._stop_burnt_names,
            self._adopt,
        ):
            await work(report)
        await self._signaller.silence()
        self._note(report)
        return report

    async def _one(self, work: Callable[[Report], Awaitable[None]]) -> None:
        report = Report()
        try:
            await work(report)
        finally:
            self._note(report)

    def _note(self, report: Report) -> None:
        if report.empty:
            return
        self._notify()
        log.warning("reconciler: %s", {k: v for k, v in report.as_dict().items() if v})
        for name, ids in report.as_dict().items():
            RECONCILED.labels(name).inc(len(ids))

    async def _adopt(self, _: Report) -> None:
        """Takes on what replicas of the version before leave, while replicas are replaced."""
        async with self._env.store.transaction() as tx:
            await ladder.adopt(tx, BATCH)
            rows = await interventions.adopt(tx, self._told_to, BATCH)
        self._told_to = rows[-1]["opened_at"] if len(rows) == BATCH else None

    async def _give_up(self, report: Report) -> None:
        report.parked.extend(await last_resort.sweep(self._env, self._engine))

    async def _retry_held(self, report: Report) -> None:
        pause = self._settings.reconcile_interval
        async with self._env.store.reading() as tx:
            rows = await ladder.held(tx, pause, self._held_to, BATCH)
        self._held_to = ladder.next_place(rows, "expected_at", BATCH)
        for row in rows:
            if self._signaller.raise_event(row, "reconcile", partial(ladder.woken, row=row)):
                report.reconciled.append(row["id"])

    async def _tell_of_starts(self, report: Report) -> None:
        """One that nobody can start is its own fault; many are the engine's, and asked about once.

        What is asked is closed by whoever starts them after all.
        """
        patience = self._settings.start_alert_after
        async with self._env.store.reading() as tx:
            rows = await ladder.unstarted(tx, patience, BATCH)
        report.unstarted.extend(row["id"] for row in rows)
        why = f"{len(rows)} or more were not started within {patience:.0f} s; is the sidecar well?"
        await tell(self._env, STARTS, "start_failed", why if len(rows) >= CROWD else None)
        if len(rows) >= CROWD or not rows or not await self._engine.answers():
            self._refused.clear()
            return
        refused = {row["id"]: row["start_failures"] for row in rows}
        self._refused = {id: self._refused.get(id, tries) for id, tries in refused.items()}
        async with self._env.store.transaction() as tx:
            for row in rows:
                if row["start_failures"] < self._refused[row["id"]] + AGAIN:
                    continue
                why = f"the engine does not start it; it was asked {row['start_failures']} times"
                await interventions.ask_once(
                    tx, row["id"], f"{row['id']}/start", "start_failed", why
                )

    async def _purge(self, report: Report) -> None:
        async with self._env.store.reading() as tx:
            rows = await ladder.forgettable(tx, self._settings.retention, self._purged_to, BATCH)
        self._purged_to = ladder.next_place(rows, "ended_at", BATCH)
        for row in rows:
            if await self._purge_one(row):
                async with self._env.store.transaction() as tx:
                    await ladder.forgotten(tx, row)
                report.purged.append(row["id"])

    async def _purge_one(self, row: Any) -> bool:
        engine_id = row["engine_id"]
        try:
            state = await self._engine.state(engine_id)
            async with self._env.store.reading() as tx:
                record = await records.get(tx, row["id"])
            if record is None or record["state"] != "ended" or record["engine_id"] != engine_id:
                return False  # it was reopened since: a deployment that is rolled back
            if state is not None and state.status not in ENDED:
                # Its record has ended, and so has all that it may do.
                await self._engine.stop(engine_id)
            if state is not None:
                await self._engine.purge(engine_id)
        except EngineConfused as error:
            log.warning("reconciler: nothing can be forgotten of it: %s", error)
            return await self._engine.answers()
        except EngineUnavailable as error:
            log.info("reconciler: %s", error)
            return False
        return True

    async def _stop_burnt_names(self, report: Report) -> None:
        """A name that was given up, and that the engine can read again, must not run on."""
        async with self._env.store.reading() as tx:
            rows = await ladder.renamed(tx, self._renamed_to, BATCH)
        self._renamed_to = rows[-1]["id"] if len(rows) == BATCH else ""
        for row in rows:
            for name in records.names_before(row):
                try:
                    await self._engine.stop(name)
                except EngineUnavailable as error:
                    log.info("reconciler: %s", error)
