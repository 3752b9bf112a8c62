"""The client of the sidecar, with the shape of the SDK's and the errors of the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import grpc
from dapr.ext.workflow.workflow_state import WorkflowStatus

from simulation.engine import Engine
from simulation.instance import Instance
from simulation.loop import Loop
from simulation.network import Lost, Network

NO_WORKER = 5.0  # seconds until an event is refused because no worker is connected


class Client:
    """What `app.engine.Engine` calls; `sidecar` says what is wrong with this replica's own."""

    def __init__(
        self,
        loop: Loop,
        network: Network,
        engine: Engine,
        sidecar: Callable[[], str],
        around: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._loop = loop
        self._network = network
        self._engine = engine
        self._sidecar = sidecar
        self._around = around
        # The application reaches past the SDK for what the SDK does not offer.
        self._DaprWorkflowClient__obj = SimpleNamespace(
            _stub=SimpleNamespace(PurgeInstances=self._purge_by_force),
            get_instance_history=self._history,
        )

    async def schedule_new_workflow(
        self, workflow: str, *, input: Any = None, instance_id: str = "", **_: Any
    ) -> str:
        """Starts an instance; blocks while no worker is connected, and then creates nothing."""

        async def start() -> str:
            found = self._engine.instances.get(instance_id)
            if not self._engine.connected:
                await self._for_ever()
            if found is not None and found.unreadable:
                _unreadable(found)
            if found is not None and not found.ended:
                _fail(grpc.StatusCode.ALREADY_EXISTS, f"an active workflow {instance_id} exists")
            self._engine.start(workflow, instance_id, json.dumps(input))
            return instance_id

        return str(await self._call("start", instance_id, start))

    async def get_workflow_state(self, instance_id: str, **_: Any) -> Any:
        """What there is to know of an instance."""

        async def read() -> Any:
            found = self._engine.instances.get(instance_id)
            if found is None:
                return None
            if found.unreadable:
                _unreadable(found)
            kind, message = found.failure or ("", "")
            return SimpleNamespace(
                runtime_status=WorkflowStatus[found.status],
                failure_details=SimpleNamespace(error_type=kind, message=message)
                if found.failure
                else None,
                serialized_output=found.output,
            )

        return await self._call("state", instance_id, read)

    async def raise_workflow_event(
        self, instance_id: str, event_name: str, *, data: Any = None, **_: Any
    ) -> None:
        """Raises an event; silently, where the instance has ended."""

        async def send() -> None:
            if not self._engine.connected:
                await self._loop.delay(NO_WORKER)
                _fail(grpc.StatusCode.FAILED_PRECONDITION, "no worker is connected")
            self._engine.raise_event(self._known(instance_id), event_name, data)

        await self._call("raise", instance_id, send)

    async def terminate_workflow(self, instance_id: str, **_: Any) -> None:
        """Ends an instance with its next turn."""
        await self._do("terminate", instance_id, self._engine.terminate)

    async def pause_workflow(self, instance_id: str, **_: Any) -> None:
        """Suspends it."""
        await self._do(
            "suspend", instance_id, lambda found: self._engine.rest(found, suspended=True)
        )

    async def resume_workflow(self, instance_id: str, **_: Any) -> None:
        """Lets it go on."""
        await self._do(
            "resume", instance_id, lambda found: self._engine.rest(found, suspended=False)
        )

    async def purge_workflow(self, instance_id: str, **_: Any) -> None:
        """Forgets an ended instance."""

        def purge(found: Instance) -> None:
            if not found.ended:
                _fail(grpc.StatusCode.FAILED_PRECONDITION, "it is not in a terminal state")
            self._engine.forget(found)

        await self._do("purge", instance_id, purge)

    async def _purge_by_force(self, request: Any) -> None:
        await self._do("force", request.instanceId, self._engine.forget)

    async def _history(self, id: str) -> list[Any]:
        async def read() -> list[Any]:
            return list(self._known(id).history)

        found: list[Any] = await self._call("history", id, read)
        return found

    async def _do(self, what: str, id: str, act: Callable[[Instance], None]) -> None:
        async def do() -> None:
            act(self._known(id))

        await self._call(what, id, do)

    def _known(self, id: str) -> Instance:
        found = self._engine.instances.get(id)
        if found is None:
            _fail(grpc.StatusCode.UNKNOWN, "no such instance exists")
        if found.unreadable:
            _unreadable(found)
        return found

    async def _call(self, what: str, id: str, act: Callable[[], Awaitable[Any]]) -> Any:
        name = f"{what} {id}"
        await self._around("call", name)
        await self._for_the_sick()
        try:
            answer = await self._network.ask("engine", name, act)
        except Lost:
            _fail(grpc.StatusCode.UNAVAILABLE, "connection reset")
        await self._around("called", name)
        return answer

    async def _for_the_sick(self) -> None:
        manner = self._sidecar() or self._engine.away
        match manner:
            case "hangs":
                self._loop.active()
                await self._for_ever()
            case "unavailable" | "down":
                await self._loop.delay(0.01)
                _fail(grpc.StatusCode.UNAVAILABLE, "connection refused")
            case "unknown":
                _fail(grpc.StatusCode.UNKNOWN, "the state store is away")
            case "wedged":
                _fail(grpc.StatusCode.INTERNAL, "actor type is not registered")

    async def _for_ever(self) -> None:
        await asyncio.get_running_loop().create_future()


def _fail(code: grpc.StatusCode, details: str) -> NoReturn:
    nothing = grpc.aio.Metadata()
    raise grpc.aio.AioRpcError(code, nothing, nothing, details=details)


def _unreadable(instance: Instance) -> NoReturn:
    _fail(
        grpc.StatusCode.UNKNOWN,
        f"inbox key of {instance.id} declared in metadata but missing",
    )
