"""The unary calls that mean something: answers of the worker, starts, events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import grpc

from conformance.gates.board import Board
from conformance.gates.instance import Instance, Kept
from conformance.gates.messages import (
    read_activity_answer,
    read_event,
    read_start,
    read_turn_answer,
)
from conformance.gates.rules import END
from conformance.gates.uplink import Metadata, Sidecar, Uplink

TURNS = ("CompleteOrchestratorTask", "CompleteWorkflowTask")
READ = frozenset({*TURNS, "CompleteActivityTask", "StartInstance", "RaiseEvent"})
EMPTY = b""  # how an empty response is written

Ask = Callable[[float | None], Coroutine[Any, Any, bytes]]


class Calls:
    """What a worker and its clients ask of the sidecar, one message and one answer each."""

    def __init__(self, sidecar: Sidecar, board: Board, messages: Counter[str]) -> None:
        self._sidecar = sidecar
        self._board = board
        self._messages = messages

    async def serve(
        self, link: Uplink, method: str, metadata: Metadata, raw: bytes, context: Any
    ) -> bytes:
        """Carries a call of one of the methods in `READ`; returns the answer."""
        name = method.rpartition("/")[2]
        self._messages[name] += 1
        # Not by `link`: what was held may go on after the link was cut and restored.
        ask = partial(self._sidecar.ask, method, raw, metadata)
        async with link.carries(context):
            if name == "StartInstance":
                instance = self._board.instance(read_start(raw))
                return await self._request(instance, "start", "start", ask, context)
            if name == "RaiseEvent":
                return await self._event(*read_event(raw), ask, context)
            if name in TURNS:
                turn = read_turn_answer(raw)
                instance = self._board.instance(turn.instance)
                return await self._complete(instance, *instance.turn_answered(turn), ask, context)
            activity = read_activity_answer(raw)
            instance = self._board.instance(activity.instance)
            answered = instance.activity_answered(activity)
            return await self._complete(instance, *answered, ask, context)
        raise AssertionError("a call that failed was aborted")

    async def _complete(
        self,
        instance: Instance,
        point: str,
        acknowledge: Callable[[], None],
        ask: Ask,
        context: Any,
    ) -> bytes:
        async def forward(seconds: float | None) -> bytes:
            answer = await ask(seconds)
            acknowledge()
            if instance.ended:
                self._board.meet(instance, END)
            self._board.touch(instance)
            return answer

        # A worker that is kept waiting for its answer has a thread less for everybody else.
        later = partial(self._sidecar.later, instance, point, forward)
        rule = self._board.meet(instance, point)
        match rule and rule.spec.action:
            case "hold":
                kept = Kept("completion", point, lambda go: later() if go else None)
                self._board.keep(instance, kept)
                return EMPTY
            case "duplicate":
                instance.note(point, "duplicated")
                later()
            case "drop":
                instance.note(point, "dropped")
                return EMPTY
            case "delay":
                instance.note(point, "delayed")
                assert rule
                later(rule.seconds)
                return EMPTY
            case "reset":
                self._sidecar.reset_once(instance, point)
                await asyncio.Future()
        return await forward(context.time_remaining())

    async def _event(self, id_: str, name: str, ask: Ask, context: Any) -> bytes:
        instance = self._board.instance(id_)
        point, failed = instance.event_raised(name)
        try:
            return await self._request(instance, point, f"event {name}", ask, context)
        except BaseException:
            failed()
            raise

    async def _request(
        self, instance: Instance, name: str, label: str, ask: Ask, context: Any
    ) -> bytes:
        point = instance.reached(f"{name}:request", label)
        if await self._passage(instance, point, context):
            self._sidecar.later(instance, point, ask)
        answer, failure = EMPTY, None
        try:
            answer = await ask(context.time_remaining())
        except grpc.aio.AioRpcError as error:
            failure = error
        point = instance.reached(f"{name}:response", label)
        await self._passage(instance, point, context)
        self._board.touch(instance)
        if failure:
            raise failure
        return answer

    async def _passage(self, instance: Instance, point: str, context: Any) -> bool:
        """Lets a caller's message meet its rule; returns whether it is to be sent twice."""
        rule = self._board.meet(instance, point)
        match rule and rule.spec.action:
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
            case "reset":
                self._sidecar.reset_once(instance, point)
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
            # The caller has left, or the link was cut: nothing waits for it any more.
            instance.kept.pop(kept, None)
            instance.note(point, "lost")
            raise
