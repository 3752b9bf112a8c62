"""The worker: registers workflows and activities, and takes work from the sidecar."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx
from dapr.ext.workflow import WorkflowActivityContext, WorkflowRuntime
from dapr.ext.workflow.logger import LoggerOptions

from activities import ACTIVITIES
from activities.connections import Connections
from activities.effect import Activity, Env
from activities.isolation import IsolationLock
from activities.providers import Providers
from app.links import link_for
from app.settings import Provider, Settings
from store import Store
from workflows import WORKFLOWS, function

log = logging.getLogger(__name__)

STOP_DEADLINE = 10.0  # seconds
LOOK_INTERVAL = 0.2  # seconds between looks for the sidecar


def make_env(
    settings: Settings,
    store: Store | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    life: str | None = None,
    isolation: IsolationLock | None = None,
) -> Env:
    """What activities work with, for the event loop that will use it.

    `transport` carries what leaves the application over something else than the network; `life`
    and `isolation` are those of the process, whichever of its event loops this is for.
    """
    return Env(
        store=store or Store(settings.database_url, timeout=settings.store_timeout),
        providers=Providers(partial(_client, settings, transport)),
        outside=transport,
        key_ttl=settings.key_ttl,
        suspect_after=settings.suspect_after,
        park_after=settings.park_after,
        decision_key=settings.decision_key.get_secret_value(),
        link_for=partial(link_for, settings),
        isolation=isolation or IsolationLock(),
        life=life,
    )


def _client(
    settings: Settings, transport: httpx.AsyncBaseTransport | None, name: str
) -> httpx.AsyncClient:
    known = settings.providers.get(name, Provider())
    token = known.token.get_secret_value() if known.token else None
    return httpx.AsyncClient(
        base_url=known.url or settings.downstream_url,
        headers={"Authorization": f"Bearer {token}"} if token else None,
        timeout=known.timeout or settings.provider_timeout,
        transport=transport or Connections(known.connections),
    )


class Worker:
    """Runs in threads of its own, so that a missing sidecar never keeps HTTP from answering."""

    def __init__(
        self,
        settings: Settings,
        sidecar_reachable: Callable[[], bool],
        life: str | None = None,
        isolation: IsolationLock | None = None,
    ) -> None:
        self._sidecar_reachable = sidecar_reachable
        self._env = make_env(settings, life=life, isolation=isolation)
        self._runtime: Any = WorkflowRuntime(
            logger_options=LoggerOptions(log_level=logging.WARNING)
        )
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._started = threading.Event()
        self._stopping = threading.Event()
        for workflow in WORKFLOWS:
            self._runtime.register_versioned_workflow(
                function(workflow, WORKFLOWS),
                name=workflow.kind,
                version_name=workflow.version,
                is_latest=workflow.latest,
            )
        for name, activity in ACTIVITIES.items():
            self._runtime.register_activity(bind(self._env, name, activity), name=name)

    def start(self) -> None:
        """Begins to connect, in the background and for as long as it takes."""
        self._thread.start()

    def _run(self) -> None:
        # The SDK would wait for the sidecar too, but with pauses that grow to 15 s.
        while not self._sidecar_reachable():
            if self._stopping.wait(LOOK_INTERVAL):
                return
        self._runtime.start()
        self._started.set()
        log.info("worker connected")

    def ended(self) -> bool:
        """Whether what takes work has ended by itself, which nothing but a restart mends."""
        if self._stopping.is_set():
            return False
        if not self._started.is_set():
            return not self._thread.is_alive()
        loop = self._runtime._WorkflowRuntime__worker._runLoop
        return loop is None or not loop.is_alive()

    async def ready(self) -> bool:
        """Whether the worker believes that its stream of work items is open."""
        if not self._started.is_set():
            return False
        return bool(await asyncio.to_thread(self._runtime.wait_for_worker_ready, timeout=0.05))

    async def stop(self) -> None:
        """Lets what is being delivered go out, then stops; the rest is dispatched again."""
        self._stopping.set()
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await asyncio.to_thread(self._runtime.shutdown)
        except TimeoutError:
            log.warning("worker did not stop within %s s", STOP_DEADLINE)


def bind(
    env: Env, name: str, activity: Activity
) -> Callable[[WorkflowActivityContext, Any], Awaitable[Any]]:
    """An activity as the SDK calls it."""

    async def bound(_: WorkflowActivityContext, message: Any) -> Any:
        answer = await activity(env, message)
        return None if answer is None else answer.model_dump(mode="json")

    bound.__name__ = name
    return bound
