"""The link between worker and sidecar as long as it is whole, and one worker's stream on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 1 << 20),
]
# A sidecar that was started again is found at once, and not after a pause that has grown.
TO_SIDECAR = [
    *UNLIMITED,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # The gate stands on one machine or in one network with the sidecar.
    ("grpc.enable_http_proxy", 0),
]


class Link:
    """Every call between worker and sidecar, and the connection to the sidecar."""

    def __init__(self, upstream: str) -> None:
        self.channel = grpc.aio.insecure_channel(upstream, options=TO_SIDECAR)
        self.broken = False
        self._calls: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def carries(self, context: Any) -> AsyncIterator[None]:
        """Around everything that a call does: tells the caller how it failed, if so."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            yield
            return
        except asyncio.CancelledError:
            if not self.broken:
                raise
            task.uncancel()
            failure: grpc.aio.AioRpcError | None = None
        except grpc.aio.AioRpcError as error:
            failure = error
        finally:
            self._calls.discard(task)
        if self.broken or failure is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the link to the sidecar was cut")
        else:
            trailing = tuple(failure.trailing_metadata() or ())
            await context.abort(failure.code(), failure.details() or "", trailing)

    def cut(self) -> None:
        """Breaks every call that is under way; the caller learns that it was UNAVAILABLE."""
        self.broken = True
        for call in self._calls:
            call.cancel()

    async def close(self) -> None:
        """Closes the connection to the sidecar, and with it what it is asked on."""
        await self.channel.close()


class WorkStream:
    """The work items on their way to one worker; `ids` are the instances that had one."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.connected = False
        self.given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._items: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, raw: bytes) -> None:
        """Puts an item behind the others."""
        self._items.put_nowait(raw)

    async def next(self) -> bytes:
        """The next item, once there is one."""
        return await self._items.get()

    def give_up(self) -> None:
        """The worker shall have nothing more of it."""
        if not self.given_up.done():
            self.given_up.set_result(None)
