"""Serves requests for operations, as badly as the script wants."""

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from downstream.config import Providers
from downstream.delivery import WebhookSender
from downstream.gate import Gate
from downstream.problems import Problem
from downstream.provider import CONFLICT, Answer, Decision, Provider
from downstream.records import Attempt, Plan
from downstream.requests import Ask, find_operation, read_ask, read_body, read_key
from downstream.responses import LostResponse, client_disconnected, scripted
from downstream.script import Script, ScriptedRule, Then
from downstream.store import Store

NOTHING = Then.model_construct()


@dataclass(frozen=True)
class _LockedKey:
    """A key whose request is under way until `until` at least, on the monotonic clock."""

    fingerprint: str
    until: float

    @property
    def problem(self) -> Problem:
        """The answer to others meanwhile: draft-ietf-httpapi-idempotency-key-header."""
        wait = max(1, math.ceil(self.until - time.monotonic()))
        detail = "the first request with this key is still under way"
        return Problem(409, "in-progress", detail, {"Retry-After": str(wait)})


@dataclass
class _RequestContext:
    """What is known of a request under way; `ordinal` counts the attempts of its key."""

    operation: str
    key: str | None = None
    instance: str | None = None
    ordinal: int | None = None
    rule: ScriptedRule | None = None

    @property
    def then(self) -> Then:
        """What it meets, as things are now: a release ends the holding of rules."""
        return (self.rule and self.rule.then) or NOTHING


class OperationHandler:
    """Takes each request through script, gate, provider and journal to its answer."""

    def __init__(
        self, providers: Providers, store: Store, script: Script, gate: Gate, sender: WebhookSender
    ) -> None:
        self._providers = providers
        self._provider = Provider(providers, store)
        self._store = store
        self._script = script
        self._gate = gate
        self._sender = sender
        self._arrivals = store.arrivals()
        self._under_way: dict[tuple[str, str], _LockedKey] = {}

    async def perform(self, operation: str, request: Request) -> Response:
        """Serves a do or an undo.

        Raises:
            Problem: 404 unknown operation, 400 or 413 malformed, 422 a field missing or wrong, or
                a key with another body; 409 the key is locked by a request under way.
        """
        declared = find_operation(self._providers, operation)
        context = _RequestContext(operation)
        try:
            context.key = read_key(request.headers.getlist("idempotency-key"))
            self._arrivals[operation, context.key] += 1
            context.ordinal = self._arrivals[operation, context.key]
            body = read_body(await _received(request))
            if isinstance(body.get("instance"), str):
                context.instance = body["instance"]
            is_undo = self._providers.is_undo(operation, body)
            ask = read_ask(operation, declared, is_undo=is_undo, key=context.key, body=body)
            self._require_free(ask)
        except Problem as problem:
            await self._store.commit(self._attempt(context, problem.word))
            raise
        context.rule = self._script.take(ask, context.ordinal)
        if not context.then.locks:
            return await self._serve(ask, context, request)
        name = (operation, context.key)
        self._under_way[name] = _LockedKey(ask.fingerprint, time.monotonic() + context.then.delay)
        try:
            return await self._serve(ask, context, request)
        finally:
            del self._under_way[name]

    def _require_free(self, ask: Ask) -> None:
        locked = self._under_way.get((ask.operation, ask.key))
        if locked is None:
            return
        if locked.fingerprint != ask.fingerprint:
            raise Problem(422, "conflict", CONFLICT)
        raise locked.problem

    async def _serve(self, ask: Ask, context: _RequestContext, request: Request) -> Response:
        then = context.then
        gone = None if then.on_disconnect == "proceed" else partial(client_disconnected, request)
        if then.delay:
            await asyncio.sleep(then.delay)
        if context.then.holds("before") and not await self._gate.hold(ask, "before", gone):
            await self._store.commit(self._attempt(context, "abandoned", "lost"))
            return LostResponse()
        if then.status is not None:
            await self._store.commit(self._attempt(context, f"scripted-{then.status}"))
            return scripted(then.status, then)
        if then.hang:
            await self._store.commit(self._attempt(context, "hung", "never"))
            await client_disconnected(request)
            return LostResponse()
        held = context.then.holds("after")
        response = "held" if held else await _response_outcome(then, request)
        decision = self._provider.decide(ask, then)
        if context.rule and context.then.only_shapes and not decision.shaped:
            # It met a request that was already decided: nothing was faulted, so nothing fired.
            context.rule.fired -= 1
            context.rule = None
        attempt = self._attempt(context, decision.result, response, decision.answer)
        saved = self._store.commit(*decision.records, attempt)
        for record in decision.records:
            if isinstance(record, Plan):
                self._sender.schedule(record)
        await saved
        if held:
            still = context.then.holds("after")
            released = not still or await self._gate.hold(ask, "after", gone)
            response = await _response_outcome(then, request) if released else "lost"
            await self._store.commit(attempt.model_copy(update={"response": response}))
            if not released:
                return LostResponse()
        return await _finish(decision, then, request)

    def _attempt(
        self,
        context: _RequestContext,
        result: str,
        response: str = "sent",
        answer: Answer | None = None,
    ) -> Attempt:
        return Attempt(
            n=len(self._store.attempts) + 1,
            operation=context.operation,
            key=context.key,
            instance=context.instance,
            ordinal=context.ordinal,
            at=datetime.now(UTC),
            result=result,
            answer=answer.result if answer else None,
            response=response,
            rule=context.rule.id if context.rule else None,
        )


async def _received(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise Problem(400, "malformed", "the request was never completed") from error


async def _finish(decision: Decision, then: Then, request: Request) -> Response:
    if then.drop:
        return LostResponse(status_code=decision.status)
    if then.commit_then_hang:
        await client_disconnected(request)
        return LostResponse()
    if then.commit_then_status is not None:
        return scripted(then.commit_then_status, then)
    if decision.answer is None:
        problem = Problem(decision.status, decision.result, decision.why)
        return problem.response()
    headers = {"Idempotent-Replayed": "true"} if decision.result == "replayed" else {}
    body = decision.answer.model_dump_json()
    return Response(body, decision.status, headers, "application/json")


async def _response_outcome(then: Then, request: Request) -> str:
    """What will become of the response, as far as one can know before it is sent."""
    if then.commit_then_status is not None:
        return f"scripted-{then.commit_then_status}"
    if then.commit_then_hang:
        return "never"
    # Asked only where the client was kept waiting: others have hardly had the time to leave.
    waited = then.delay or then.hold
    return "lost" if then.drop or (waited and await request.is_disconnected()) else "sent"


def routes(handler: OperationHandler) -> APIRouter:
    """The providers' interface, as far as it does something."""
    router = APIRouter(tags=["operations"])

    @router.post("/{service}/{operation}")
    async def perform(service: str, operation: str, request: Request) -> Response:
        """A do or an undo, under the key in the header `Idempotency-Key`."""
        return await handler.perform(f"{service}.{operation}", request)

    return router
