"""The workflow engine behind the sidecar, as this application uses it.

Every call has a deadline and one error, `EngineUnavailable`: it may have happened all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from dapr.ext.workflow.aio import DaprWorkflowClient

CALL_DEADLINE = 8.0  # seconds


class EngineUnavailable(Exception):
    """The engine did not answer, or not as hoped; the call may have happened."""


class Engine:
    """A typed client of the engine; it belongs to one event loop."""

    def __init__(self) -> None:
        self._client: Any = DaprWorkflowClient()

    async def schedule(self, kind: str, id: str, input: dict[str, Any]) -> None:
        """Starts an instance unless it is running already.

        Raises:
            EngineUnavailable: nobody knows whether it was started.
        """
        async with _deadline(f"schedule {id}", ignore=grpc.StatusCode.ALREADY_EXISTS):
            await self._client.schedule_new_workflow(kind, input=input, instance_id=id)

    async def ring(self, id: str, name: str) -> None:
        """Rings the doorbell of an instance: the inbox holds what there is to know.

        Raises:
            EngineUnavailable: ring again later; one ring too many does no harm.
        """
        async with _deadline(f"raise {name} on {id}"):
            # Never empty: the engine turns every falsy payload into None.
            await self._client.raise_workflow_event(id, name, data={"ring": True})


@asynccontextmanager
async def _deadline(what: str, ignore: grpc.StatusCode | None = None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(CALL_DEADLINE):
            yield
    except TimeoutError as error:
        raise EngineUnavailable(f"{what}: no answer within {CALL_DEADLINE} s") from error
    except grpc.aio.AioRpcError as error:
        if ignore is None or error.code() != ignore:
            raise EngineUnavailable(f"{what}: {error.code().name} {error.details()}") from error
