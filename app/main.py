"""The application: its parts, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from activities.effect import Env
from activities.isolation import IsolationLock
from app import errors, openapi, singleton
from app.api import (
    actions,
    approvals,
    audit,
    health,
    interventions,
    monitors,
    starts,
    webhooks,
    workflows,
)
from app.api.common import Services
from app.audit import Audit
from app.courier import Courier
from app.engine import Engine
from app.housekeeping import Housekeeping
from app.limits import BodyLimit
from app.reconcile import Reconciler
from app.relay import Relay
from app.settings import Settings, SidecarSettings
from app.sidecar import Watcher
from app.worker import Worker, make_env
from store import processes
from store.migrate import migrate

ROUTES = (
    starts,
    approvals,
    monitors,
    workflows,
    actions,
    interventions,
    audit,
    webhooks,
    health,
)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    life, isolation = str(uuid.uuid4()), IsolationLock()
    env = make_env(settings, life=life, isolation=isolation)
    await migrate(env.store)
    async with env.store.transaction() as tx:
        # Before the first dispatch: what the life before left unfinished is told from work.
        await processes.begin(tx, life, f"{socket.gethostname()}:{settings.port}")
    watcher = Watcher(SidecarSettings(), settings.wedge_after)
    worker = Worker(settings, lambda: watcher.reachable, life, isolation)
    holder = f"{socket.gethostname()}:{life}"
    background = compose(app, env, Engine(), watcher, worker.ready, holder)
    # HTTP answers before there is a sidecar: neither waits for the other.
    worker.start()
    tasks = [asyncio.create_task(each, name=name) for name, each in background.items()]
    app.state.ended = lambda: _ended(tasks, worker)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await worker.stop()
    await watcher.close()
    await env.providers.aclose()
    await env.store.close()


def _ended(tasks: list[asyncio.Task[None]], worker: Worker) -> list[str]:
    """What should run for as long as this process does, and does not."""
    return [task.get_name() for task in tasks if task.done()] + ["Worker"] * worker.ended()


def compose(
    app: FastAPI,
    env: Env,
    engine: Engine,
    watcher: Watcher,
    worker_ready: Callable[[], Awaitable[bool]],
    holder: str,
) -> dict[str, Coroutine[Any, Any, None]]:
    """Puts the parts of one replica together; returns what has to run as long as it lives, by name.

    Everything that runs in the background belongs here: what the parts stand on (a sidecar, a
    simulation) is the caller's affair. `holder` names this process among all replicas.
    """
    settings: Settings = app.state.settings
    relay = Relay(env, engine, settings.relay_interval)
    courier = Courier(env, settings.courier_interval, settings.notices)
    reconciler = Reconciler(env, engine, settings, relay.notify)
    audited = Audit(env, settings)
    tidy = Housekeeping(env.store, settings.keep).sweep
    app.state.services = Services(settings, env.store, relay, engine, watcher)

    def repeat(name: str, interval: float, work: Callable[[], Awaitable[object]]) -> Any:
        return singleton.repeat(env.store, name, holder, interval, work)

    return {
        "watcher": watcher.run(worker_ready),
        "relay": relay.run(),
        "courier": courier.run(),
        **{f"reconciler {n}": part for n, part in enumerate(reconciler.loops(holder))},
        **({"signs of life": processes.beat(env.store, env.life)} if env.life else {}),
        "audit": repeat("audit", settings.audit_interval, audited.sweep),
        "housekeeping": repeat("housekeeping", settings.housekeeping_interval, tidy),
    }


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; settings come from the environment unless they are given."""
    app = FastAPI(title="Steadfast", lifespan=_lifespan)
    app.state.settings = settings or Settings()
    errors.install(app)
    openapi.install(app)
    app.add_middleware(BodyLimit)
    for module in ROUTES:
        app.include_router(module.router)
    return app
