"""The workflow engine behind the sidecar, as this application uses it.

Every call has a deadline and one error, `EngineUnavailable`: it may have happened all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dapr.ext.workflow._durabletask.internal.protos as pb
import grpc
from dapr.ext.workflow.aio import DaprWorkflowClient
from dapr.ext.workflow.logger import LoggerOptions

log = logging.getLogger(__name__)

CALL_DEADLINE = 8.0  # seconds
POLL = 0.2  # seconds
ENDED = ("COMPLETED", "FAILED", "TERMINATED")
NOBODY = "~nobody"  # no instance has this id


class EngineUnavailable(Exception):
    """The engine did not answer, or not as hoped; the call may have happened."""


@dataclass(frozen=True)
class InstanceState:
    """An instance as the engine sees it."""

    status: str
    failure: str | None = None


class EngineConfused(EngineUnavailable):
    """The engine answered that it does not understand its own state, or cannot get at it."""


class EngineStalled(EngineConfused):
    """The actor of an instance holds on to a turn, and lets nothing in until its daprd restarts."""


class Engine:
    """A typed client of the engine; it belongs to one event loop."""

    def __init__(self, client: Any = None) -> None:
        options = LoggerOptions(log_level=logging.CRITICAL)  # what went wrong is raised, and ours
        self._client: Any = client or DaprWorkflowClient(logger_options=options)

    async def schedule(self, kind: str, id: str, input: dict[str, Any]) -> None:
        """Starts an instance unless it is running already.

        Raises:
            EngineUnavailable: nobody knows whether it was started.
        """
        async with _deadline(f"schedule {id}", ignore=grpc.StatusCode.ALREADY_EXISTS):
            await self._client.schedule_new_workflow(kind, input=input, instance_id=id)

    async def raise_event(self, id: str, name: str) -> None:
        """Raises a wake-up signal for an instance: the inbox holds what there is to know.

        Raises:
            EngineUnavailable: raise it again later; one too many does no harm.
        """
        async with _deadline(f"raise {name} on {id}"):
            # Never empty: the engine turns every falsy payload into None.
            await self._client.raise_workflow_event(id, name, data={"ring": True})

    async def state(self, id: str) -> InstanceState | None:
        """What the engine knows of an instance; `None` when it knows nothing.

        Raises:
            EngineConfused: it cannot read what it keeps, and not only for a moment.
            EngineUnavailable: it did not say.
        """
        for again in (True, True, False):
            try:
                return await self._state(id)
            except EngineConfused:
                # Now and then a read is torn by a write beside it; the next one is whole.
                if not again:
                    raise
            await asyncio.sleep(POLL)
        return None

    async def _state(self, id: str) -> InstanceState | None:
        async with _deadline(f"state of {id}"):
            state = await self._client.get_workflow_state(id)
        if state is None:
            return None
        details = state.failure_details
        failure = f"{details.error_type}: {details.message}" if details else None
        return InstanceState(status=state.runtime_status.name, failure=failure)

    async def answers(self) -> bool:
        """Whether the engine and its store answer just now, for an instance that never was.

        A store that is away fails with the very codes of an instance that cannot be read.
        """
        try:
            return await self._state(NOBODY) is None
        except EngineUnavailable:
            return False

    async def restart(self, kind: str, id: str, input: dict[str, Any]) -> None:
        """Runs an instance again under the same id, after stopping what is left of it.

        Raises:
            EngineConfused: it cannot read what is left of it, and so cannot stop it; not started.
            EngineUnavailable: nobody knows whether it was started.
        """
        await self.stop(id)
        async with _deadline(f"restart {id}"):
            await self._client.schedule_new_workflow(kind, input=input, instance_id=id)

    async def stop(self, id: str) -> None:
        """Stops an instance, and returns when it has ended; also when there is none.

        Raises:
            EngineConfused: it cannot read it, and so cannot stop it.
            EngineUnavailable: it may be going on.
        """
        state = await self.state(id)
        if state is None or state.status in ENDED:
            return
        await self.terminate(id)
        await self.settled(id)

    async def forget(self, id: str) -> None:
        """Removes by force an instance that can be stopped in no other way.

        Raises:
            EngineConfused: it cannot read it, and so cannot remove it.
            EngineUnavailable: nobody knows whether it was removed.
        """
        # daprd 1.18.2 dies of it where there is none, as after another replica has removed it.
        with suppress(EngineConfused):
            if await self.state(id) is None:
                return
        # An instance whose history nobody can read can neither be terminated nor purged the
        # ordinary way. The SDK does not offer the engine's own `force` (nor does its HTTP API).
        stub = self._client._DaprWorkflowClient__obj._stub
        request = pb.PurgeInstancesRequest(instanceId=id, recursive=False, force=True)
        async with _deadline(f"force purge {id}"):
            await stub.PurgeInstances(request)

    async def history(self, id: str) -> list[Any]:
        """Every event of an instance, as the engine keeps them.

        Raises:
            EngineUnavailable: it did not say.
        """
        async with _deadline(f"history of {id}"):
            events: list[Any] = await self._client._DaprWorkflowClient__obj.get_instance_history(id)
        return events

    async def terminate(self, id: str) -> None:
        """Stops an instance after the activity in flight."""
        async with _deadline(f"terminate {id}"):
            await self._client.terminate_workflow(id)

    async def settled(self, id: str) -> None:
        """Waits, for as long as one call may last, until an instance has ended.

        Raises:
            EngineUnavailable: it has not.
        """
        await self._reached(id, lambda status: status in ENDED)

    async def rest(self, id: str, suspended: bool) -> None:
        """Lets an instance take no further step, or go on; returns when it does.

        One that has ended, or is unknown, rests anyway.

        Raises:
            EngineUnavailable: nobody knows whether it does.
        """

        def agrees(status: str) -> bool:
            return status in ENDED or (status == "SUSPENDED") == suspended

        state = await self.state(id)
        if state is None or agrees(state.status):
            return
        call = self._client.pause_workflow if suspended else self._client.resume_workflow
        async with _deadline(f"{'suspend' if suspended else 'resume'} {id}"):
            await call(id)
        await self._reached(id, agrees)

    async def _reached(self, id: str, condition: Callable[[str], bool]) -> None:
        async with _deadline(f"state of {id}"):
            while True:
                state = await self.state(id)
                if state is None or condition(state.status):
                    return
                await asyncio.sleep(POLL)

    async def purge(self, id: str) -> None:
        """Makes the engine forget an ended instance."""
        async with _deadline(f"purge {id}"):
            await self._client.purge_workflow(id)


@asynccontextmanager
async def _deadline(what: str, ignore: grpc.StatusCode | None = None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(CALL_DEADLINE):
            yield
    except TimeoutError as error:
        raise EngineUnavailable(f"{what}: no answer within {CALL_DEADLINE} s") from error
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
            details = error.details() or ""
            stalled = details.endswith("actor is stalled")
            raise (EngineStalled if stalled else EngineConfused)(f"{what}: {details}") from error
        if ignore is None or error.code() != ignore:
            raise EngineUnavailable(f"{what}: {error.code().name} {error.details()}") from error
