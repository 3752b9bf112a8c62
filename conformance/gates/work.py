"""The stream of work items from the sidecar to a worker, where dispatches meet their rules."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc

from conformance.gates.board import Board
from conformance.gates.instance import Kept
from conformance.gates.messages import Turn, read_item
from conformance.gates.uplink import Metadata, Sidecar, Uplink


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


class Work:
    """The streams of all workers. A work item that is held does not delay the others."""

    def __init__(self, sidecar: Sidecar, board: Board, messages: Counter[str]) -> None:
        self._sidecar = sidecar
        self._board = board
        self._messages = messages
        self._streams: set[WorkStream] = set()

    @property
    def connected(self) -> bool:
        """Whether a worker takes work items from the sidecar."""
        return any(stream.connected for stream in self._streams)

    def sever(self) -> None:
        """Gives up the worker: the sidecar dispatches again, the worker has to come back."""
        for stream in self._streams:
            stream.give_up()

    async def serve(
        self, link: Uplink, method: str, metadata: Metadata, request: bytes, context: Any
    ) -> None:
        """Carries one worker's stream until one of both ends it, or it is given up."""
        stream = WorkStream()
        async with link.carries(context):
            call = link.channel.unary_stream(method)(
                request, metadata=metadata, timeout=context.time_remaining()
            )
            reader = asyncio.ensure_future(self._read(call, stream))
            writer = asyncio.ensure_future(_write(stream, context))
            self._streams.add(stream)
            try:
                await asyncio.wait(
                    {reader, writer, stream.given_up}, return_when=asyncio.FIRST_COMPLETED
                )
                failure = await _ending(reader, writer)
            finally:
                self._streams.discard(stream)
                reader.cancel()
                writer.cancel()
                call.cancel()
                self._board.stream_lost(stream, stream.ids)
            if link.broken or failure is None or failure.code() is grpc.StatusCode.CANCELLED:
                # The SDK takes CANCELLED for its own wish and would never come back.
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream of work items ended")
            raise failure  # type: ignore[misc]  # grpc has no types

    async def _read(self, call: Any, stream: WorkStream) -> None:
        await call.wait_for_connection()
        stream.connected = True
        async for raw in call:
            self._messages["GetWorkItems"] += 1
            self._dispatch(stream, raw)

    def _dispatch(self, stream: WorkStream, raw: bytes) -> None:
        item = read_item(raw)
        if item is None:
            stream.send(raw)
            return
        instance = self._board.instance(item.instance)
        stream.ids.add(item.instance)
        if isinstance(item, Turn):
            point = instance.turn_dispatched(item, stream)
        else:
            point = instance.activity_dispatched(item, stream)
        rule = self._board.meet(instance, point)
        match rule and rule.spec.action:
            case None:
                stream.send(raw)
            case "hold":
                kept = Kept("dispatch", point, lambda go: stream.send(raw) if go else None, stream)
                self._board.keep(instance, kept)
            case "duplicate":
                instance.note(point, "duplicated")
                stream.send(raw)
                stream.send(raw)
            case "drop":
                instance.note(point, "dropped")
            case "delay":
                instance.note(point, "delayed")
                assert rule
                asyncio.get_running_loop().call_later(rule.seconds, stream.send, raw)
            case "reset":
                self._sidecar.reset_once(instance, point)
        self._board.touch(instance)


async def _write(stream: WorkStream, context: Any) -> None:
    while True:
        await context.write(await stream.next())


async def _ending(*tasks: asyncio.Task[None]) -> grpc.aio.AioRpcError | None:
    """How the sidecar ended a stream, if it was the sidecar who did."""
    for task in tasks:
        if task.done() and (error := task.exception()):
            if isinstance(error, grpc.aio.AioRpcError):
                return error
            raise error
    return None
