"""The sidecar behind the gate, and the link to it as long as it is whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc

from conformance.gates.board import Board
from conformance.gates.instance import Instance

log = logging.getLogger(__name__)

LATER = 30.0  # seconds for the sidecar to take a message whose sender no longer waits
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
CUT = "the link to the sidecar is cut"

Metadata = tuple[tuple[str, str | bytes], ...]


class Uplink:
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


class Sidecar:
    """What is sent to the sidecar by whichever link there is; `link` is `None` while it is cut."""

    def __init__(self, address: str, board: Board) -> None:
        self.link: Uplink | None = Uplink(address)
        self._address = address
        self._board = board
        self._background: set[asyncio.Task[None]] = set()

    async def ask(
        self, method: str, raw: bytes, metadata: Metadata, seconds: float | None
    ) -> bytes:
        """Sends one message; returns the answer.

        Raises:
            grpc.aio.AioRpcError: there is none; UNAVAILABLE while the link is cut.
        """
        if self.link is None:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, CUT)
        call = self.link.channel.unary_unary(method)
        answer: bytes = await call(raw, metadata=metadata, timeout=seconds)
        return answer

    def later(
        self,
        instance: Instance,
        point: str,
        send: Callable[[float], Coroutine[Any, Any, bytes]],
        delay: float = 0,
    ) -> None:
        """Sends a message whose sender does not wait for an answer, after so many seconds."""

        async def sent() -> None:
            await asyncio.sleep(delay)
            try:
                await send(LATER)
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                log.info("%s %s was lost: %s", instance.id, point, _reason(error))
                instance.note(point, "lost")

        self._spawn(sent())

    def reset_once(self, instance: Instance, point: str) -> None:
        """Breaks everything once, this message first; new calls go through at once."""
        instance.note(point, "lost")
        if self.link:
            broken, self.link = self.link, Uplink(self._address)
            self._spawn(self._break(broken))

    async def cut(self) -> None:
        """Breaks everything in both directions; nothing goes through until it is restored."""
        broken, self.link = self.link, None
        if broken:
            await self._break(broken)

    def restore(self) -> None:
        """Lets calls through again."""
        self.link = self.link or Uplink(self._address)

    async def close(self) -> None:
        """Gives up what was to be sent, and the link."""
        for task in self._background:
            task.cancel()
        if self.link:
            await self.link.close()

    async def _break(self, link: Uplink) -> None:
        link.cut()
        self._board.lose()
        await link.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("in the background: %s", error, exc_info=error)


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name} {error.details()}"
    return "the call was cancelled"
