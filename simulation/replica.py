"""A replica: the real application, life after life, on parts that we hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextvars import Context
from functools import cache
from typing import Any, cast

import httpx
from fastapi import FastAPI

from activities import ACTIVITIES
from app.engine import Engine as Client_
from app.main import compose, create_app
from app.settings import Settings, SidecarSettings
from app.sidecar import Watcher
from app.worker import bind, make_env
from simulation import disk, turns
from simulation.client import Client
from simulation.clock import Skew
from simulation.disk import Disk, Reach
from simulation.engine import Engine
from simulation.idlers import Found, Looks, Sweeps
from simulation.instance import Item
from simulation.loop import Loop, Process, current, spawn
from simulation.network import LATENCY, Network, Server, Transport
from store import clock

CONNECT = 0.3  # seconds until a new worker's stream is open
STUCK = 16.0  # seconds until the engine gives up a worker that is stopped
RIPE = 120.0  # seconds until the audit sees a charge, beyond its patience: clocks differ
CARRIERS = ("relay", "courier")
SIDECAR = 3.0  # seconds until a sidecar that was stopped is there again

_apps: dict[int, FastAPI] = {}


def _app(number: int, settings: Settings) -> FastAPI:
    """Building the routes takes longer than most simulations, and nothing of one stays in them."""
    if number not in _apps:
        _apps[number] = create_app(settings)
    _apps[number].state.settings = settings
    return _apps[number]


@cache
def _sidecar() -> SidecarSettings:
    return SidecarSettings()


class Worker:
    """The worker of one life: takes turns and activities from the engine."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._items: dict[Item, None] = {}
        env = make_env(life.settings, disk.store(), life.provider)
        self._activities = {name: bind(env, name, each) for name, each in ACTIVITIES.items()}

    def take(self, item: Item) -> None:
        """Begins to work on it."""
        self._items[item] = None
        work = self._turn(item) if item.kind == "turn" else self._activity(item)
        spawn(self._life.loop, self._life.context, work)

    @property
    def unfinished(self) -> list[Item]:
        """What it has taken and not answered."""
        return [item for item in self._items if not item.done]

    async def _turn(self, item: Item) -> None:
        life = self._life
        await life.reach("turn", str(item))
        result = life.engine.decide(item)
        await life.reach("decided", str(item))
        await life.loop.delay(life.random() * LATENCY)
        self._items.pop(item, None)
        life.engine.decided(item, result)

    async def _activity(self, item: Item) -> None:
        life = self._life
        await life.reach("activity", str(item))
        try:
            message = json.loads(item.message) if item.message else None
            output = await self._activities[item.name](cast(Any, None), message)
            event = turns.completed(item.number, output)
        except Exception as error:
            life.say(f"{item} failed: {type(error).__name__}: {error}")
            event = turns.failed(item.number, error)
        await life.reach("completion", str(item))
        await life.loop.delay(life.random() * LATENCY)
        self._items.pop(item, None)
        life.engine.answered(item, event)


class Life:
    """One process of a replica, from its start to its death."""

    def __init__(self, replica: Replica, number: int) -> None:
        self.process = Process(f"{replica.name}.{number}", replica.number)
        self.loop, self.engine = replica.loop, replica.engine
        self.settings, self.random, self.say = replica.settings, replica.random, replica.say
        self.reach = replica.reach
        self.context = self.loop.neutral.copy()
        self.context.run(current.set, self.process)
        self.context.run(clock.skew.set, cast(Any, replica.skew))
        self.provider = replica.outgoing(replica.reach)
        self.worker = self.context.run(Worker, self)
        self.connected = False
        self.believes = False  # a worker whose sidecar is wedged believes that it is connected
        app = _app(replica.number, self.settings)
        self.server = replica.network.add(
            Server(self.loop, app, self.context, self.process, self._arrived)
        )
        self._background: list[asyncio.Task[Any]] = []
        self.context.run(self._begin, replica, app)

    def _begin(self, replica: Replica, app: FastAPI) -> None:
        env = make_env(self.settings, disk.store(), self.provider)
        looks = Looks(self.loop, replica.sidecar_shows)

        def serving(_: httpx.Request) -> Server | None:
            looks.looked()
            return replica.sidecar_server()

        sidecar = Transport(replica.network, "sidecar", serving)
        self.watcher = Watcher(_sidecar(), self.settings.wedge_after, sidecar)
        engine = Client_(
            Client(self.loop, replica.network, self.engine, replica.sidecar_is, self.reach)
        )
        parts = compose(app, env, engine, self.watcher, self._ready, self.process.name)
        for name, part in parts.items():
            idler = looks if name == "watcher" else replica.sweeps(name)
            self._background.append(self.loop.idle(self.context, idler, part))

    def connect(self) -> None:
        """The worker's stream of work items opens."""
        if not (self.process.dead or self.connected):
            self.loop.active()
            self.connected = self.believes = True
            self.engine.connect(self.worker)

    def disconnect(self, notice: float) -> None:
        """The stream is closed; what the worker has is dispatched again when that is noticed."""
        if self.connected:
            self.loop.active()
            self.connected = False
            self.engine.disconnect(self.worker, self.worker.unfinished, notice)

    def close(self) -> None:
        """Stops the background, as a graceful stop does; what is served goes on to its end."""
        for task in self._background:
            task.cancel()

    async def _ready(self) -> bool:
        return self.believes

    async def _arrived(self, what: str) -> None:
        await self.reach("serve", what)


class Replica:
    """One place where the application runs, with its sidecar."""

    def __init__(
        self,
        number: int,
        loop: Loop,
        settings: Settings,
        engine: Engine,
        network: Network,
        store: Disk,
        random: Callable[[], float],
        reach: Reach,
        outgoing: Callable[[Reach], httpx.AsyncBaseTransport],
        log: Callable[[str, str], None],
        skew: float,
        found: dict[str, Found],
        provided_at: Callable[[], float],
    ) -> None:
        self.number, self.name = number, f"replica-{number}"
        self.loop, self.settings, self.engine, self.network = loop, settings, engine, network
        self.random, self.reach, self.outgoing = random, reach, outgoing
        self.skew = Skew(skew)
        self.lives = 0
        self.life: Life | None = None
        self.sick = ""  # down or wedged: its sidecar
        self.sidecar = network.add(Server(loop, self._sidecar, Context()))
        self._log = log
        self._store = store
        self._found = found
        self._provided_at = provided_at  # when something happened at the providers

    def say(self, what: str) -> None:
        """A line of the log."""
        self._log(self.name, what)

    def sidecar_server(self) -> Server | None:
        """Who answers at the sidecar's port."""
        away = self.engine.away == "unavailable" or self.sick == "down"
        return None if away else self.sidecar

    def sidecar_shows(self) -> Any:
        """All that its watcher can see change; nothing, while it has to look again and again."""
        if self.sick == "wedged" or self.life is None:
            return None
        return self.sick, self.engine.away, self.life.connected, self.life.believes

    def sweeps(self, name: str) -> Sweeps:
        """What is known of the background task of a name."""
        found = self._found.setdefault(name, Found())
        if name != "audit":
            return Sweeps(self.loop, found, self._store, carries=name in CARRIERS)
        ripe = RIPE + self.settings.audit_after
        return Sweeps(self.loop, found, self._store, lambda: self._provided_at() + ripe)

    def sidecar_is(self) -> str:
        """What is wrong with the sidecar; empty, when nothing is."""
        return self.sick

    @property
    def server(self) -> Server | None:
        """The application that answers here; none while it is down."""
        return self.life.server if self.life else None

    def start(self) -> None:
        """A new life begins, unless one is under way."""
        if self.life is not None:
            return
        self.lives += 1
        self.life = Life(self, self.lives)
        self.loop.active()
        self.say("starts")
        self._connect_soon(CONNECT)

    def crash(self, down: float) -> None:
        """SIGKILL: not one line runs on, open transactions roll back, connections are cut."""
        life = self._gone("is killed", down)
        if life is None:
            return
        self.loop.kill(life.process)
        self._store.abandon(life.process)
        self.network.cut(life.process)

    def stop(self, down: float) -> None:
        """SIGTERM: it takes nothing new, and what is asynchronous is cut off and runs again."""
        life = self._gone("is stopped", down)
        if life is None:
            return
        life.close()
        self.loop.at(self.loop.time() + 0.5, self._end, life)

    def _end(self, life: Life) -> None:
        self.loop.kill(life.process)
        self._store.abandon(life.process)
        self.network.cut(life.process)

    def _gone(self, how: str, down: float) -> Life | None:
        life, self.life = self.life, None
        if life is None:
            return None
        self.loop.active()
        self.say(how)
        life.disconnect(1.5)
        self.loop.at(self.loop.time() + down, self.start)
        return life

    def pause(self, lasts: float) -> None:
        """SIGSTOP, and SIGCONT after so many seconds."""
        if self.life is None or self.life.process.stopped:
            return
        self.loop.active()
        self.say("stands still")
        self.loop.stop_process(self.life.process)
        self.loop.at(self.loop.time() + lasts, self._go_on, self.life)
        self.loop.at(self.loop.time() + STUCK, self._give_up, self.life)

    def _go_on(self, life: Life) -> None:
        if life.process.dead:
            return
        self.loop.active()
        self.say("goes on")
        self.loop.resume_process(life.process)
        self._store.next()
        if not life.connected:
            self._connect_soon(1.0)

    def _give_up(self, life: Life) -> None:
        if life.process.stopped and not life.process.dead:
            life.disconnect(0.0)

    def wedge(self) -> None:
        """The sidecar loses its worker, and says that it is well."""
        if self.sick or self.life is None:
            return
        self.loop.active()
        self.say("sidecar wedged")
        self.sick = "wedged"
        self.life.disconnect(1.5)

    def _connect_soon(self, after: float) -> None:
        self.loop.at(self.loop.time() + after, self._connect)

    def _connect(self) -> None:
        if self.life is None:
            return
        if self.sick == "wedged":
            self.life.believes = True
        elif not self.sick:
            self.life.connect()

    def _sidecar_returns(self) -> None:
        self.sick = ""
        self.loop.active()
        self.say("sidecar is back")
        self._connect_soon(CONNECT)

    async def _sidecar(self, scope: Any, receive: Any, send: Any) -> None:
        """What the sidecar's HTTP port answers."""
        content: dict[str, Any] = {}
        if scope["path"] == "/v1.0/shutdown" and self.sick == "wedged":
            self.sick = "down"
            if self.life is not None:
                self.life.believes = False
            self.say("sidecar is asked to stop")
            self.loop.at(self.loop.time() + SIDECAR, self._sidecar_returns)
        elif self.life is not None and self.life.connected:
            content = {"workflows": {"connectedWorkers": 1}}
        elif self.sick == "wedged":
            self.loop.active()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})
