"""Brings about what a schedule has in store, each thing at its time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulation.disk import Disk
from simulation.engine import Engine
from simulation.instance import Instance
from simulation.loop import Loop, Process, current
from simulation.misdeliveries import Misdeliveries
from simulation.network import Network
from simulation.replica import Replica
from simulation.schedule import (
    Amnesia,
    Away,
    ClockJump,
    Crash,
    Message,
    Misdelivery,
    Pause,
    Schedule,
    Script,
    Slow,
    Stop,
    StoreAway,
    Wedge,
)

POLL = 0.25  # seconds between two searches for the instance that a disturbance is for
PATIENCE = 3_600.0  # seconds until it is given up


@dataclass
class _Trap:
    """A crash or a pause that waits for the nth await of a kind."""

    number: int
    spec: Crash | Pause
    left: int


class Disturbances:
    """All of a schedule, and how often each of them fired."""

    def __init__(self, loop: Loop, log: Callable[[str, str], None], schedule: Schedule) -> None:
        self.fired = [0] * len(schedule.disturbances)
        self.points: defaultdict[str, int] = defaultdict(int)
        self._loop = loop
        self._log = log
        self._schedule = schedule
        self._traps: dict[tuple[int, str], list[_Trap]] = {}

    def note_firing(self, number: int, what: str) -> None:
        """Notes that a disturbance met what it is for."""
        self.fired[number] += 1
        self._loop.active()
        self._log("disturbance", f"{number}: {what}")

    @property
    def over_at(self) -> float:
        """When the last of them is over, as far as that is known in advance."""
        ends = [
            one.at + getattr(one, "lasts", 0) + getattr(one, "down", 0)
            for one in self._schedule.disturbances
        ]
        return max(ends, default=0.0)

    def prepare(
        self,
        replicas: list[Replica],
        engine: Engine,
        network: Network,
        misdeliveries: Misdeliveries,
        disk: Disk,
        script: Callable[[int, Script], None],
    ) -> None:
        """Sets the time of each."""
        self._replicas, self._engine, self._network = replicas, engine, network
        self._misdeliveries, self._disk, self._script = misdeliveries, disk, script
        for number, spec in enumerate(self._schedule.disturbances):
            self._loop.at(spec.at, self._begin, number, spec)

    def _begin(self, number: int, spec: Any) -> None:
        match spec:
            case Crash() | Pause() if spec.point is not None:
                trap = _Trap(number, spec, spec.nth)
                self._traps.setdefault((spec.replica, spec.point), []).append(trap)
            case Crash() | Pause():
                self._seize(number, spec)
            case Stop() | Wedge() | ClockJump():
                self._handle(number, spec)
            case Message():
                self._network.disturb(number, spec)
            case Misdelivery():
                self._misdeliveries.disturb(number, spec)
            case Amnesia():
                self._forget(number, spec, self._loop.time() + PATIENCE)
            case Script():
                self._script(number, spec)
            case Slow() | Away() | StoreAway():
                self._outage(number, spec)

    def _replica(self, spec: Any) -> Replica | None:
        return self._replicas[spec.replica] if spec.replica < len(self._replicas) else None

    def _seize(self, number: int, spec: Crash | Pause) -> None:
        replica = self._replica(spec)
        if replica is None or replica.life is None:
            return
        self.note_firing(number, f"{spec.kind} {replica.name} {spec.point or ''}")
        if isinstance(spec, Crash):
            replica.crash(spec.down)
        else:
            replica.pause(spec.lasts)

    def _handle(self, number: int, spec: Stop | Wedge | ClockJump) -> None:
        replica = self._replica(spec)
        if replica is None:
            return
        self.note_firing(number, f"{spec.kind} {replica.name}")
        if isinstance(spec, Stop):
            replica.stop(spec.down)
        elif isinstance(spec, Wedge):
            replica.wedge()
        else:
            replica.skew.seconds += spec.by

    def _outage(self, number: int, spec: Slow | Away | StoreAway) -> None:
        self.note_firing(number, f"{spec.kind} for {spec.lasts:g} s")
        self._switch(spec, on=True)
        self._loop.at(self._loop.time() + spec.lasts, self._restore, spec)

    def _restore(self, spec: Slow | Away | StoreAway) -> None:
        self._log("disturbance", f"{spec.kind} is over")
        self._switch(spec, on=False)
        self._loop.active()

    def _switch(self, spec: Slow | Away | StoreAway, *, on: bool) -> None:
        match spec:
            case Slow():
                self._engine.slow(spec.rate if on else None)
            case Away():
                self._engine.leave(spec.manner if on else "")
            case StoreAway():
                self._disk.away = on
                if on:
                    self._disk.lose()

    def _forget(self, number: int, spec: Amnesia, until: float) -> None:
        found = next((each for each in self._engine.instances.values() if _meant(each, spec)), None)
        if found is None:
            if self._loop.time() < until:
                self._loop.at(self._loop.time() + POLL, self._forget, number, spec, until)
            return
        self.note_firing(number, f"{found.id} {spec.fault}")
        match spec.fault:
            case "unreadable":
                found.unreadable = True
            case "forgotten":
                self._engine.forget(found)
            case "again":
                self._engine.start(found.kind, found.id, found.input)
            case "terminated":
                self._engine.terminate(found)

    async def reach(self, point: str, detail: str = "") -> None:
        """An await of a replica: here it dies or stops, where the schedule says so."""
        process = current.get()
        if process is None:
            return
        self.points[point] += 1
        traps = self._traps.get((process.number, point))
        if traps:
            await self._meet(process, traps, detail)

    async def _meet(self, process: Process, traps: list[_Trap], detail: str) -> None:
        for trap in list(traps):
            trap.left -= 1
            if trap.left == 0:
                traps.remove(trap)
                self._log(process.name, f"reached {trap.spec.point}: {detail[:80]}")
                self._seize(trap.number, trap.spec)
                # A process that died here never goes on; a paused one does, later.
                await (self._loop.create_future() if process.dead else self._loop.delay(0))


def _meant(instance: Instance, spec: Amnesia) -> bool:
    return spec.instance in instance.id and instance.ended == (spec.fault == "again")
