"""Runs a schedule: puts the world together, lets it go on until it is settled, and looks at it."""

from __future__ import annotations

import gc
import json
import logging
import tempfile
from collections import Counter
from contextvars import copy_context
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import httpx

from app.replay import registry
from simulation import disk
from simulation.clock import world_of
from simulation.disk import Disk, Reach
from simulation.disturbances import Disturbances
from simulation.engine import Engine
from simulation.evidence import STARTS, about
from simulation.idlers import Found
from simulation.loop import Loop, current
from simulation.misdeliveries import Misdeliveries
from simulation.network import Network, Server, Transport
from simulation.outsiders import Outsiders, settings
from simulation.replica import Replica
from simulation.result import Answered, Result
from simulation.schedule import Call, Schedule, Script
from simulation.witness import witness

SWEPT = 600.0  # seconds after which everything was swept at least once
LOGGERS = ("app", "activities", "downstream")


def simulate(schedule: Schedule) -> Result:
    """Runs a schedule to its end; the same schedule has the same result, log and all."""
    disk.template()
    collecting = gc.isenabled()
    gc.disable()  # what is freed runs: when, must not depend on what else this process did
    try:
        known = _asked_of_nothing(json.dumps(schedule.settings, sort_keys=True))
        return _run(schedule, {name: replace(each) for name, each in known.items()})
    finally:
        if collecting:
            gc.enable()


def _run(schedule: Schedule, found: dict[str, Found]) -> Result:
    with tempfile.TemporaryDirectory(prefix="steadfast-", dir=disk.room()) as folder:
        chance = Random(schedule.seed)
        with world_of(chance) as loop:
            world = World(schedule, loop, chance, Path(folder), found)
            try:
                return copy_context().run(loop.run_until_complete, world.run())
            finally:
                world.close()


@cache
def _asked_of_nothing(changed: str) -> dict[str, Found]:
    """What the sweeps ask a store in which there is nothing: every simulation begins with one."""
    found: dict[str, Found] = {}
    nothing = Schedule(
        seed=0, replicas=1, calls=(), quiet=SWEPT, until=SWEPT, settings=json.loads(changed)
    )
    _run(nothing, found)
    return {name: replace(each, began=0.0, swept=0.0) for name, each in found.items()}


class World:
    """Everything that there is in one simulation."""

    def __init__(
        self,
        schedule: Schedule,
        loop: Loop,
        chance: Random,
        folder: Path,
        found: dict[str, Found],
    ) -> None:
        self._schedule, self._loop, self._chance, self._folder = schedule, loop, chance, folder
        self._result = Result()
        self._found = found
        self._rules: dict[int, str] = {}  # of the witness, by the number of the disturbance
        self._log_handler = _Handler(self._note)
        self._disturbances = Disturbances(loop, self._note, schedule)
        self._misdeliveries = Misdeliveries(self._disturbances.note_firing)
        self._network = Network(loop, chance, self._disturbances.note_firing)
        self._disk = Disk(loop, chance, self._disturbances.reach, folder)
        self._disk.touched = self._touched
        disk.use(self._disk)
        loop.neutral = copy_context()
        self._engine = Engine(
            loop, chance, registry(), self._note, self._misdeliveries, schedule.capacity
        )
        loop.set_exception_handler(self._unhandled)
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self._log_handler)
            logging.getLogger(name).propagate = False

    def close(self) -> None:
        """Nothing has an effect from now on."""
        self._disk.close()
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self._log_handler)
            logging.getLogger(name).propagate = True

    async def run(self) -> Result:
        """Lets it all happen."""
        configured = settings(self._schedule.settings)
        app = witness(
            self._folder, Transport(self._network, "webhook", self._anybody, self._called_back)
        )
        async with app.router.lifespan_context(app):
            self._witness = self._network.add(Server(self._loop, app, self._loop.neutral))
            self._replicas = [
                self._replica(number, configured) for number in range(self._schedule.replicas)
            ]
            self._outsiders = Outsiders(
                self._loop,
                {
                    "app": Transport(self._network, "client", self._anybody),
                    "witness": Transport(self._network, "tester", lambda _: self._witness),
                },
                self._schedule.people,
                self._schedule.until,
            )
            for replica in self._replicas:
                replica.start()
            self._disturbances.prepare(
                self._replicas,
                self._engine,
                self._network,
                self._misdeliveries,
                self._disk,
                self._script,
            )
            await self._calls()
            await self._rest()
            await self._look()
        return self._result

    def _replica(self, number: int, configured: Any) -> Replica:
        skews = self._schedule.skews
        return Replica(
            number,
            self._loop,
            configured,
            self._engine,
            self._network,
            self._disk,
            self._chance.random,
            self._disturbances.reach,
            self._outgoing,
            self._note,
            skews[number] if number < len(skews) else 0.0,
            self._found,
            lambda: self._witness.changed_at,
        )

    def _outgoing(self, reach: Reach) -> httpx.AsyncBaseTransport:
        return Transport(self._network, "provider", lambda _: self._witness, reach)

    async def _called_back(self, _: str, __: str) -> None:
        # What a callback tells has changed at the provider.
        self._witness.changed_at = self._loop.time()

    def _anybody(self, _: httpx.Request) -> Server | None:
        return self._chance.choice(self._replicas).server

    async def _calls(self) -> None:
        starts: dict[str | None, Answered] = {}
        for call in self._schedule.calls:
            answered = Answered(0, None, 0.0, 0)
            self._result.answers.append(answered)
            start = None if call.path in STARTS else starts.get(about(call))
            starts.setdefault(about(call), answered)
            self._loop.create_task(self._outsiders.make(call, answered, start))
        # All have to have begun before it is asked whether all have ended.
        await self._loop.delay(0)

    async def _rest(self) -> None:
        """Waits until nothing happens any more, or it is time."""
        quiet, end = self._schedule.quiet, self._schedule.until
        while self._loop.time() < end:
            due = max(self._loop.active_at + quiet, self._disturbances.over_at + quiet)
            if due > self._loop.time():
                await self._loop.delay(min(due, end) - self._loop.time())
            elif self._settled():
                self._result.settled = True
                return
            else:
                await self._loop.activity(end)

    def _settled(self) -> bool:
        if self._outsiders.busy:
            return False
        return not self._disk.query("SELECT 1 FROM records WHERE state != 'ended' LIMIT 1")

    async def _look(self) -> None:
        result, see = self._result, self._outsiders.see
        result.lasted = self._loop.time()
        for number in self._rules:
            await self._count(number)
        ledger = await see("/ledger", "witness")
        result.attempts, result.effects = ledger["attempts"], ledger["effects"]
        for (id,) in self._disk.query("SELECT id FROM records ORDER BY id"):
            result.records[id] = await see(f"/workflows/{id}") or {}
        page = await see("/interventions?status=all&limit=200")
        result.interventions = (page or {"items": []})["items"]
        result.calls = dict(self._engine.calls)
        result.fired = self._disturbances.fired
        result.counts = Counter(self._engine.counts)
        result.counts.update({f"at {name}": n for name, n in self._disturbances.points.items()})

    def _script(self, number: int, spec: Script) -> None:
        self._loop.create_task(self._scripted(number, spec), context=self._loop.neutral.copy())

    async def _scripted(self, number: int, spec: Script) -> None:
        made = await self._outsiders.once(Call(at=0, to="witness", path="/script", body=spec.rule))
        if made[0] != 201:
            raise ValueError(f"the witness does not take the rule: {made}")
        rule = self._rules[number] = made[1]["id"]
        self._loop.active()
        if not spec.lasts:
            return
        await self._loop.delay(spec.lasts)
        await self._count(number)
        del self._rules[number]
        await self._outsiders.once(
            Call(at=0, to="witness", method="DELETE", path=f"/script/{rule}")
        )
        self._loop.active()

    async def _count(self, number: int) -> None:
        for rule in await self._outsiders.see("/script", "witness"):
            if rule["id"] == self._rules[number]:
                self._disturbances.fired[number] = rule["fired"]

    def _touched(self, table: str) -> None:
        if table == "interventions":
            self._outsiders.opened()

    def _note(self, who: str, what: str) -> None:
        self._result.log.append(f"{self._loop.time():.6f} {who} {what}")

    def _unhandled(self, _: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = f"{context.get('message')}: {type(error).__name__}: {error}"
        self._result.errors.append(what)
        self._note("unhandled", what)


class _Handler(logging.Handler):
    """What the application logs is a part of the simulation's log."""

    def __init__(self, note: Any) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        process = current.get()
        line = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            line += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        self._note(process.name if process else record.name, line)
