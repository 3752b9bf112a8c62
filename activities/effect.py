"""The one helper of every effect: one key, one provider call, one honest answer.

An activity runs *at least* once: a kill, a lost response or a zombie runs it again. Six rules
make its effect happen at most once all the same:

- the key comes from the workflow and is the same in every attempt, re-dispatch and run; it
  travels as the `Idempotency-Key` header;
- a provider forgets keys after a while: past that horizon, look up by our reference before acting;
- a refusal is a value; a timeout, a lost connection, a 5xx or a 429 is an exception, because the
  effect *may* have happened, and only the same key again can tell;
- what was answered for good, or settled by a person, is not sent again;
- what belongs to a run that has turned down, or ended, since is not sent at all;
- a dispatch is counted before it begins and after it ends. One whose process died before it
  ended, again and again, runs alone for a while, so that bystanders are not blamed, and is then
  parked for a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.isolation import IsolationLock
from activities.providers import Providers
from store import Store, attempts, interventions, records
from store.dispatches import Closing, Dispatches, Opening
from workflows.messages import Answer, Call, RetryRule

LOST = "engine/lost-records"  # the key of what is asked where something runs without a record
DEADLINE = 30.0  # seconds; longer work is submitted with a key and then polled or called back


@dataclass
class Env:
    """What activities work with. It belongs to the event loop that runs them."""

    store: Store
    providers: Providers
    key_ttl: float = 82_800.0  # seconds; an hour less than the providers promise to remember a key
    suspect_after: int = 2  # dispatches that never ended before a step has to run alone
    park_after: int = 3  # dispatches alone that never ended before a step is parked
    decision_key: str = ""  # verifies decisions that were raised past the API
    link_for: Callable[[RowMapping, str], str | None] = lambda record, person: None
    isolation: IsolationLock = field(default_factory=IsolationLock)
    life: str | None = None  # of this process, among all that ever were
    outside: httpx.AsyncBaseTransport | None = None  # how services are reached; None: the network

    def __post_init__(self) -> None:
        self.dispatches = Dispatches(self.store)


Body = Mapping[str, Any]
Activity = Callable[[Env, dict[str, Any]], Awaitable[BaseModel | None]]


class Fault(Exception):
    """Nobody knows whether the effect happened; the same key again will tell."""


def effect(operation: str) -> Activity:
    """An activity that carries out an operation as a step of its instance."""

    async def activity(env: Env, message: dict[str, Any]) -> Answer:
        call = Call.model_validate(message)
        return await perform(env, operation, call, call.body, step=True)

    return activity


async def perform(
    env: Env, operation: str, call: Call, body: Body, *, step: bool = False
) -> Answer:
    """Carries out one effect under its key; as a `step`, it is what the instance is doing now.

    Raises:
        Fault: a lost connection, a 5xx or a 429; to be retried with the same key.
        TimeoutError: the same, after `DEADLINE` seconds.
    """
    if step and (ordinary := await _together(env, operation, call, body)) is not None:
        return ordinary
    async with env.store.reading() as tx:
        past = await attempts.past(tx, call.key, call.next_key)
        settled = await interventions.settled_by_hand(tx, call.key)
        first_at = past.first_at
        if first_at is None and step:
            first_at = await records.run_before_since(tx, call.instance)
    known = _known(env, past, settled=settled)
    if known is not None:
        return known
    deaths = past.unfinished - env.suspect_after
    async with env.isolation.pass_(None if deaths < 0 else 2.0**deaths) as passage:
        try:
            number = await _begin(env, operation, call, alone=passage.alone, step=step)
        except records.Lost as lost:
            await tell_of_lost(env, lost)
            raise Fault(str(lost)) from lost
        if number is None:
            return Answer(result="undone", reason="the instance has turned down, or ended, since")
        passage.on_company = partial(_note_company, env, number)
        carry_out = _carry_out(env, operation, call, body, first_at)
        next_try = partial(_next_try, call, past)
        return await _counted(env, call, number, carry_out, next_try, step=step)


async def _together(env: Env, operation: str, call: Call, body: Body) -> Answer | None:
    """Carries out a step, counted together with others; `None` where anything is unusual.

    It passes before it is counted: who waits for a suspect has not begun.
    """
    async with env.isolation.pass_(None):
        at = records.now()
        opening = Opening(operation, call, at, at + timedelta(seconds=DEADLINE), env.life)
        begun = await env.dispatches.begin(opening)
        if begun is None:
            return None
        carry_out = _carry_out(env, operation, call, body, None)
        next_try = partial(_next_try, call, attempts.Past())
        return await _counted(env, call, begun.number, carry_out, next_try, step=True)


async def _carry_out(
    env: Env, operation: str, call: Call, body: Body, first_at: datetime | None
) -> Answer:
    async with asyncio.timeout(DEADLINE):
        found = await _found(env, operation, call, first_at)
        return found or await _send(env, operation, call, body)


async def _counted(
    env: Env,
    call: Call,
    number: int,
    carry_out: Awaitable[Answer],
    next_try: Callable[[], datetime],
    *,
    step: bool,
) -> Answer:
    """Waits for what was begun under this number, and notes what came of it."""
    try:
        answer = await carry_out
    except BaseException as error:
        # Whatever is raised here has come back, and so is not the death of the process.
        async with env.store.transaction() as tx:
            if step:  # the record first, as everywhere: a person's answer locks both
                await records.expect(tx, call.instance, next_try())
            await attempts.finish(tx, number, result="fault", error=_describe(error))
        raise
    look_again = call.look_again if step and answer.result == "pending" else None
    closing = Closing(number, call.instance, records.now(), answer.result, answer.reason)
    if step and look_again is None and await env.dispatches.finish(closing):
        return answer
    async with env.store.transaction() as tx:
        if look_again is not None:
            await note_pending(tx, call, look_again)
        await attempts.finish(tx, number, result=answer.result, error=answer.reason)
    return answer


def _known(env: Env, past: attempts.Past, *, settled: bool) -> Answer | None:
    """What needs no call any more: a key that was answered for good is not asked again."""
    if settled:
        return Answer(result="settled")
    if past.result is not None:
        return Answer.model_validate({"result": past.result, "reason": past.reason})
    if past.overtaken:
        return Answer(result="rejected", reason="another try was ordered since")
    if past.unfinished_alone >= env.park_after:
        return Answer(result="parked", reason="the step keeps taking its process down")
    return None


async def _begin(env: Env, operation: str, call: Call, *, alone: bool, step: bool) -> int | None:
    """Notes that a dispatch begins, unless its run was overtaken: then there is none.

    An undo closes the key of a do at most providers, and at some nothing does. So what belongs to
    an older run of an instance that has turned down, or ended, is not sent in the first place.
    """
    async with env.store.transaction() as tx:
        if step:
            record = await records.get(tx, call.instance, lock=True)
            if record is None:
                raise records.Lost(f"there is no record of {call.instance}")
            if call.undoes is None and _overtaken(record, call):
                return None
            if call.must:
                await records.pass_pivot(tx, call.instance)
            until = records.now() + timedelta(seconds=DEADLINE)
            name = call.key.partition("/")[2]
            await records.progress(
                tx, call.instance, status="RUNNING", step=name, expected_at=until
            )
        return await attempts.begin(
            tx,
            instance=call.instance,
            key=call.key,
            operation=operation,
            undoes=call.undoes,
            alone=alone,
            process=env.life,
        )


def _overtaken(record: RowMapping, call: Call) -> bool:
    down: bool = record["direction"] == "down" and not call.must
    return down or record["state"] == "ended"


async def tell_of_lost(env: Env, lost: records.Lost) -> None:
    """Asks a person, once for all of them: a table was lost, or an older copy was put back.

    Nothing is done or undone meanwhile: a machine gives nothing back because it does not know.
    """
    async with env.store.transaction() as tx:
        await interventions.ask_once(tx, "-", LOST, "lost", str(lost))


async def _note_company(env: Env, number: int) -> None:
    async with env.store.transaction() as tx:
        await attempts.not_alone(tx, number)


def _next_try(call: Call, past: attempts.Past) -> datetime:
    """When the next try of a fault begins at the latest, and how long it may last."""
    rule = call.retry or RetryRule()
    pause = min(rule.cap, rule.first * 2 ** min(past.faults, 20)) * 1.25
    return records.now() + timedelta(seconds=pause + DEADLINE)


async def note_pending(tx: AsyncConnection, call: Call, look_again: float) -> None:
    """A sign of life of an instance whose step is pending: when it is looked at again."""
    at = records.now() + timedelta(seconds=look_again)
    name = call.key.partition("/")[2]
    await records.progress(
        tx, call.instance, status="WAITING", step=name, due_at=at, expected_at=at
    )


async def look_up(env: Env, operation: str, reference: str) -> Answer | None:
    """What the provider knows under our reference; `None` when it knows nothing.

    Raises:
        Fault: it did not say.
    """
    response = await _request(env, "GET", operation, params={"reference": reference})
    return None if response.status_code == 404 else _answer(response)


async def listing(
    env: Env, operation: str, since: datetime
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """What the provider did for us since then, oldest first, a page at a time.

    Raises:
        Fault: it did not say.
    """
    params: dict[str, Any] = {"since": since.isoformat(), "limit": 200}
    while True:
        response = await _request(env, "GET", operation, params=params)
        try:
            page = response.json()
            items, after = page["items"], page["next"]
        except (ValueError, KeyError, TypeError) as error:
            raise Fault(f"{operation}: HTTP {response.status_code} is no page") from error
        yield items
        if not after:
            return
        params["after"] = after


async def _found(env: Env, operation: str, call: Call, first_at: datetime | None) -> Answer | None:
    """Past the horizon a key no longer protects: ask for our reference before acting again."""
    if first_at is None or (records.now() - first_at).total_seconds() < env.key_ttl:
        return None
    return await look_up(env, operation, call.key)


async def _send(env: Env, operation: str, call: Call, body: Body) -> Answer:
    content = {
        # A field that nobody fills changes no body: the key was used with the one before it.
        **{name: value for name, value in body.items() if value is not None},
        "instance": call.instance,
        "reference": call.key,
    }
    if call.undoes:
        content["undoes"] = call.undoes
    headers = {"Idempotency-Key": call.key}
    return _answer(await _request(env, "POST", operation, json=content, headers=headers))


async def _request(env: Env, method: str, operation: str, **arguments: Any) -> httpx.Response:
    path = "/" + operation.replace(".", "/")
    try:
        response = await env.providers.of(operation).request(method, path, **arguments)
    except httpx.TransportError as error:
        raise Fault(f"{operation}: {_describe(error)}") from error
    if response.status_code >= 500 or response.status_code in (408, 425, 429):
        raise Fault(f"{operation}: HTTP {response.status_code}")
    return response


def _answer(response: httpx.Response) -> Answer:
    """A body with a `result` is the provider's answer; any other 4xx says the request is wrong.

    But for a 409: draft-ietf-httpapi-idempotency-key-header answers so while the first request
    with a key is still under way, and 422 for a key that came with another body.
    """
    try:
        content = response.json()
        fields = {name: content.get(name) for name in ("result", "provider_id")}
        fields["reason"] = content["reason"][:500] if content.get("reason") else None
        heartbeat = (content.get("detail") or {}).get("heartbeat_at")
        if heartbeat is not None:
            age = records.now() - datetime.fromisoformat(heartbeat)
            fields["silent_for"] = age.total_seconds()
        return Answer.model_validate(fields)
    except (ValueError, AttributeError, TypeError, ValidationError) as error:
        if response.is_client_error and response.status_code != 409:
            return Answer(
                result="rejected", reason=f"HTTP {response.status_code}: {response.text}"[:500]
            )
        raise Fault(f"HTTP {response.status_code} with an answer that makes no sense") from error


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500].rstrip(": ")
