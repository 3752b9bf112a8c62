"""Where requests for operations arrive, and are served as badly as the script wants."""

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from downstream.config import Providers
from downstream.delivery import Courier
from downstream.facts import Attempt, Plan
from downstream.gate import Gate
from downstream.problems import Problem
from downstream.provider import CONFLICT, Answer, Decision, Provider
from downstream.requests import Ask, find_operation, read_ask, read_body, read_key
from downstream.responses import LostResponse, departure, scripted
from downstream.script import Rule, Script, Then
from downstream.store import Store

NOTHING = Then.model_construct()


@dataclass(frozen=True)
class _Work:
    """A request under way whose key is locked; it takes until `until` at least."""

    fingerprint: str
    until: float

    @property
    def problem(self) -> Problem:
        """The answer to whoever comes meanwhile: draft-ietf-httpapi-idempotency-key-header."""
        wait = max(1, math.ceil(self.until - time.monotonic()))
        detail = "the first request with this key is still under way"
        return Problem(409, "in-progress", detail, {"Retry-After": str(wait)})


@dataclass
class _Visit:
    """One attempt while it is under way; `ordinal` counts the attempts of its key."""

    operation: str
    key: str | None = None
    instance: str | None = None
    ordinal: int | None = None
    rule: Rule | None = None

    @property
    def then(self) -> Then:
        """What it meets, as things are now: a release ends the holding of rules."""
        return (self.rule and self.rule.then) or NOTHING


class Desk:
    """Takes each request through script, gate, provider and journal to its answer."""

    def __init__(
        self, providers: Providers, store: Store, script: Script, gate: Gate, courier: Courier
    ) -> None:
        self._providers = providers
        self._provider = Provider(providers, store)
        self._store = store
        self._script = script
        self._gate = gate
        self._courier = courier
        self._arrivals = store.arrivals()
        self._under_way: dict[tuple[str, str], _Work] = {}

    async def perform(self, operation: str, request: Request) -> Response:
        """Serves a do or an undo.

        Raises:
            Problem: 404 unknown operation, 400 or 413 malformed, 422 a field missing or wrong, or
                a key with another body; 409 the key is locked by a request under way.
        """
        declared = find_operation(self._providers, operation)
        visit = _Visit(operation)
        try:
            visit.key = read_key(request.headers.getlist("idempotency-key"))
            self._arrivals[operation, visit.key] += 1
            visit.ordinal = self._arrivals[operation, visit.key]
            body = read_body(await _received(request))
            if isinstance(body.get("instance"), str):
                visit.instance = body["instance"]
            is_undo = self._providers.is_undo(operation, body)
            ask = read_ask(operation, declared, is_undo=is_undo, key=visit.key, body=body)
            self._require_free(ask)
        except Problem as problem:
            await self._store.commit(self._attempt(visit, problem.word))
            raise
        visit.rule = self._script.take(ask, visit.ordinal)
        if not visit.then.locks:
            return await self._serve(ask, visit, request)
        name = (operation, visit.key)
        self._under_way[name] = _Work(ask.fingerprint, time.monotonic() + visit.then.delay)
        try:
            return await self._serve(ask, visit, request)
        finally:
            del self._under_way[name]

    def _require_free(self, ask: Ask) -> None:
        work = self._under_way.get((ask.operation, ask.key))
        if work is None:
            return
        if work.fingerprint != ask.fingerprint:
            raise Problem(422, "conflict", CONFLICT)
        raise work.problem

    async def _serve(self, ask: Ask, visit: _Visit, request: Request) -> Response:
        then = visit.then
        patience = None if then.on_disconnect == "proceed" else partial(departure, request)
        if then.delay:
            await asyncio.sleep(then.delay)
        if visit.then.holds("before") and not await self._gate.hold(ask, "before", patience):
            await self._store.commit(self._attempt(visit, "abandoned", "lost"))
            return LostResponse()
        if then.status is not None:
            await self._store.commit(self._attempt(visit, f"scripted-{then.status}"))
            return scripted(then.status, then)
        if then.hang:
            await self._store.commit(self._attempt(visit, "hung", "never"))
            await departure(request)
            return LostResponse()
        held = visit.then.holds("after")
        response = "held" if held else await _fate(then, request)
        decision = self._provider.decide(ask, then)
        if visit.rule and visit.then.only_shapes and not decision.shaped:
            # It met a request that was already decided: nothing was faulted, so nothing fired.
            visit.rule.fired -= 1
            visit.rule = None
        attempt = self._attempt(visit, decision.result, response, decision.answer)
        saved = self._store.commit(*decision.facts, attempt)
        for fact in decision.facts:
            if isinstance(fact, Plan):
                self._courier.expect(fact)
        await saved
        if held:
            still = visit.then.holds("after")
            released = not still or await self._gate.hold(ask, "after", patience)
            response = await _fate(then, request) if released else "lost"
            await self._store.commit(attempt.model_copy(update={"response": response}))
            if not released:
                return LostResponse()
        return await _finish(decision, then, request)

    def _attempt(
        self, visit: _Visit, result: str, response: str = "sent", answer: Answer | None = None
    ) -> Attempt:
        return Attempt(
            n=len(self._store.attempts) + 1,
            operation=visit.operation,
            key=visit.key,
            instance=visit.instance,
            ordinal=visit.ordinal,
            at=datetime.now(UTC),
            result=result,
            answer=answer.result if answer else None,
            response=response,
            rule=visit.rule.id if visit.rule else None,
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
        await departure(request)
        return LostResponse()
    if then.commit_then_status is not None:
        return scripted(then.commit_then_status, then)
    if decision.answer is None:
        problem = Problem(decision.status, decision.result, decision.why)
        return problem.response()
    headers = {"Idempotent-Replayed": "true"} if decision.result == "replayed" else {}
    body = decision.answer.model_dump_json()
    return Response(body, decision.status, headers, "application/json")


async def _fate(then: Then, request: Request) -> str:
    """What will become of the response, as far as one can know before it is sent."""
    if then.commit_then_status is not None:
        return f"scripted-{then.commit_then_status}"
    if then.commit_then_hang:
        return "never"
    # Asked only of those who were kept waiting: others have hardly had the time to leave.
    waited = then.delay or then.hold
    return "lost" if then.drop or (waited and await request.is_disconnected()) else "sent"


def routes(desk: Desk) -> APIRouter:
    """The providers' interface, as far as something is done."""
    router = APIRouter(tags=["operations"])

    @router.post("/{service}/{operation}")
    async def perform(service: str, operation: str, request: Request) -> Response:
        """A do or an undo, under the key in the header `Idempotency-Key`."""
        return await desk.perform(f"{service}.{operation}", request)

    return router
