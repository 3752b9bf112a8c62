"""The proxy: every call goes through as raw bytes, and what the rules mean meets its rule."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import grpc

from conformance.gates.board import Board
from conformance.gates.instance import Instance, Kept
from conformance.gates.link import UNLIMITED, Link, WorkStream
from conformance.gates.messages import (
    Turn,
    read_activity_answer,
    read_event,
    read_item,
    read_start,
    read_turn_answer,
)
from conformance.gates.rules import END

log = logging.getLogger(__name__)

LATER = 30.0  # seconds for the sidecar to take a message whose sender no longer waits
SERVER = [
    *UNLIMITED,
    ("grpc.so_reuseport", 0),
    # Who pings often is none of the gate's business.
    ("grpc.http2.max_ping_strikes", 0),
]
TURNS = ("CompleteOrchestratorTask", "CompleteWorkflowTask")
OWN = ("user-agent", "content-type", "te")  # of each connection
EMPTY = b""  # how an empty response is written

Metadata = tuple[tuple[str, str | bytes], ...]


class Proxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Stands between workers and one sidecar."""

    def __init__(self, listen: str, upstream: str, board: Board) -> None:
        self._upstream = upstream
        self._board = board
        self._link: Link | None = Link(upstream)
        self._streams: set[WorkStream] = set()
        self._background: set[asyncio.Task[None]] = set()
        self.calls: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self._server = grpc.aio.server(options=SERVER)
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(listen)

    async def start(self) -> None:
        """Begins to take calls."""
        await self._server.start()

    async def stop(self) -> None:
        """Ends at once; what is under way is lost."""
        await self._server.stop(None)
        for task in self._background:
            task.cancel()
        if self._link:
            await self._link.close()

    @property
    def is_cut(self) -> bool:
        """Whether nothing goes through."""
        return self._link is None

    @property
    def worker_connected(self) -> bool:
        """Whether a worker takes work items from the sidecar through this gate."""
        return any(stream.connected for stream in self._streams)

    def sever(self) -> None:
        """Gives up the worker: the sidecar dispatches again, the worker has to come back."""
        for stream in self._streams:
            stream.give_up()

    async def cut(self) -> None:
        """Breaks everything in both directions; nothing goes through until it is mended."""
        link, self._link = self._link, None
        if link:
            link.cut()
            self._board.lose()
            await link.close()

    def mend(self) -> None:
        """Lets calls through again."""
        self._link = self._link or Link(self._upstream)

    def service(self, details: Any) -> Any:
        """How a call is handled, as grpc asks for it."""
        method: str = details.method
        name = method.rpartition("/")[2]
        self.calls[name] += 1
        link = self._link
        if link is None:
            return grpc.stream_stream_rpc_method_handler(_refuse)
        metadata = tuple(
            (key, value)
            for key, value in details.invocation_metadata
            if not key.startswith((":", "grpc-"))
            and key not in ("user-agent", "content-type", "te")
        )
        given = (link, method, metadata)
        if name == "GetWorkItems":
            return grpc.unary_stream_rpc_method_handler(partial(self._work, *given))
        unary = {
            "CompleteActivityTask": self._complete,
            **dict.fromkeys(TURNS, self._complete),
            "StartInstance": self._start,
            "RaiseEvent": self._event,
        }
        if name in unary:
            return grpc.unary_unary_rpc_method_handler(partial(unary[name], *given))
        return grpc.stream_stream_rpc_method_handler(partial(self._any, *given))

    async def _any(
        self, link: Link, method: str, metadata: Metadata, requests: Any, context: Any
    ) -> None:
        name = method.rpartition("/")[2]

        async def counted() -> AsyncIterator[bytes]:
            async for request in requests:
                self.messages[name] += 1
                yield request

        async with link.carries(context):
            call = link.channel.stream_stream(method)(
                counted(), metadata=metadata, timeout=context.time_remaining()
            )
            async for response in call:
                self.messages[name] += 1
                await context.write(response)
            context.set_trailing_metadata(tuple(await call.trailing_metadata() or ()))

    async def _work(
        self, link: Link, method: str, metadata: Metadata, request: bytes, context: Any
    ) -> None:
        stream = WorkStream()
        async with link.carries(context):
            call = link.channel.unary_stream(method)(
                request, metadata=metadata, timeout=context.time_remaining()
            )
            reader = asyncio.ensure_future(self._read(link, call, stream))
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

    async def _read(self, link: Link, call: Any, stream: WorkStream) -> None:
        await call.wait_for_connection()
        stream.connected = True
        async for raw in call:
            self.messages["GetWorkItems"] += 1
            self._dispatch(link, stream, raw)

    def _dispatch(self, link: Link, stream: WorkStream, raw: bytes) -> None:
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
        match rule.spec.action if rule else None:
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
            case "cut":
                self._blink(instance, point)
        self._board.touch(instance)

    async def _complete(
        self, link: Link, method: str, metadata: Metadata, raw: bytes, context: Any
    ) -> bytes:
        name = method.rpartition("/")[2]
        self.messages[name] += 1
        async with link.carries(context):
            if name in TURNS:
                turn = read_turn_answer(raw)
                instance = self._board.instance(turn.instance)
                point, acknowledge = instance.turn_answered(turn)
            else:
                activity = read_activity_answer(raw)
                instance = self._board.instance(activity.instance)
                point, acknowledge = instance.activity_answered(activity)

            async def forward(seconds: float | None) -> bytes:
                # Not `link`: what was held may go on after the link was cut and mended.
                answer = await self._ask(method, raw, metadata, seconds)
                acknowledge()
                if instance.ended:
                    self._board.meet(instance, END)
                self._board.touch(instance)
                return answer

            rule = self._board.meet(instance, point)
            match rule.spec.action if rule else None:
                case "hold":
                    later = partial(self._later, instance, point, forward)
                    kept = Kept("completion", point, lambda go: later() if go else None)
                    self._board.keep(instance, kept)
                    return EMPTY
                case "duplicate":
                    instance.note(point, "duplicated")
                    first = asyncio.ensure_future(forward(context.time_remaining()))
                    self._later(instance, point, forward)
                    return await first
                case "drop":
                    instance.note(point, "dropped")
                    return EMPTY
                case "delay":
                    instance.note(point, "delayed")
                    assert rule
                    self._later(instance, point, forward, rule.seconds)
                    return EMPTY
                case "cut":
                    self._blink(instance, point)
                    await asyncio.Future()
            return await forward(context.time_remaining())
        raise AssertionError("a call that failed was aborted")

    async def _start(
        self, link: Link, method: str, metadata: Metadata, raw: bytes, context: Any
    ) -> bytes:
        instance = self._board.instance(read_start(raw))
        return await self._request(link, method, metadata, raw, context, instance, "start")

    async def _event(
        self, link: Link, method: str, metadata: Metadata, raw: bytes, context: Any
    ) -> bytes:
        id_, name = read_event(raw)
        instance = self._board.instance(id_)
        point, failed = instance.event_raised(name)
        label = f"event {name}"
        try:
            return await self._request(link, method, metadata, raw, context, instance, point, label)
        except BaseException:
            failed()
            raise

    async def _request(
        self,
        link: Link,
        method: str,
        metadata: Metadata,
        raw: bytes,
        context: Any,
        instance: Instance,
        name: str,
        label: str = "start",
    ) -> bytes:
        self.messages[method.rpartition("/")[2]] += 1
        async with link.carries(context):
            point = instance.reached(f"{name}:request", label)
            twice = await self._passage(instance, point, context)
            asked = partial(self._ask, method, raw, metadata)
            first = asyncio.ensure_future(asked(context.time_remaining()))
            if twice:
                self._later(instance, point, asked)
            answer: bytes | grpc.aio.AioRpcError
            try:
                answer = await first
            except grpc.aio.AioRpcError as error:
                answer = error
            point = instance.reached(f"{name}:response", label)
            await self._passage(instance, point, context)
            self._board.touch(instance)
            if isinstance(answer, grpc.aio.AioRpcError):
                raise answer
            return answer
        raise AssertionError("a call that failed was aborted")

    async def _passage(self, instance: Instance, point: str, context: Any) -> bool:
        """Lets a caller's message meet its rule; returns whether it is to be sent twice."""
        rule = self._board.meet(instance, point)
        match rule.spec.action if rule else None:
            case "hold":
                if not await self._wait(instance, point):
                    await context.abort(grpc.StatusCode.UNAVAILABLE, f"dropped at {point}")
            case "duplicate":
                instance.note(point, "duplicated")
                return True
            case "drop":
                instance.note(point, "dropped")
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"dropped at {point}")
            case "delay":
                instance.note(point, "delayed")
                assert rule
                await asyncio.sleep(rule.seconds)
            case "cut":
                self._blink(instance, point)
                await asyncio.Future()
        return False

    async def _wait(self, instance: Instance, point: str) -> bool:
        """Keeps a caller waiting for the release; returns whether the message goes on."""
        released: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def settle(go: bool) -> None:
            if not released.done():
                released.set_result(go)

        kept = Kept("request", point, settle)
        self._board.keep(instance, kept)
        try:
            return await released
        except asyncio.CancelledError:
            # The caller has left, or the link was cut: there is nobody to do it for.
            instance.kept.pop(kept, None)
            instance.note(point, "lost")
            raise

    async def _ask(
        self, method: str, raw: bytes, metadata: Metadata, seconds: float | None
    ) -> bytes:
        link = self._link
        if link is None:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(),
                "the link to the sidecar is cut",
            )
        call = link.channel.unary_unary(method)
        answer: bytes = await call(raw, metadata=metadata, timeout=seconds)
        return answer

    def _later(
        self,
        instance: Instance,
        point: str,
        send: Callable[[float], Coroutine[Any, Any, bytes]],
        delay: float = 0,
    ) -> None:
        """Sends a message that nobody waits for."""

        async def sent() -> None:
            await asyncio.sleep(delay)
            try:
                await send(LATER)
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                log.info("%s %s was lost: %s", instance.id, point, _reason(error))
                instance.note(point, "lost")

        self._spawn(sent())

    def _blink(self, instance: Instance, point: str) -> None:
        """Breaks everything once; new calls go through at once."""
        instance.note(point, "lost")
        if self._link:
            link, self._link = self._link, Link(self._upstream)
            link.cut()
            self._board.lose()
            self._spawn(link.close())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("in the background: %s", error, exc_info=error)


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


async def _refuse(_: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the link to the sidecar is cut")


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name} {error.details()}"
    return "the call was cancelled"
