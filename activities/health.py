"""Health checks, what follows from them, and the alerts. Each of these may run twice unharmed."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from typing import Any

import httpx

from activities import signed_controls
from activities.effect import Env, perform
from store import interventions, monitors
from workflows.health_monitor import Checks, Finding, Health, PlanRequest, Round, Untold
from workflows.messages import Answer, Call, IncidentKind


async def plan(env: Env, message: dict[str, Any]) -> Round:
    """Drains the controls of a monitor and says what is left to do in its round."""
    request = PlanRequest.model_validate(message)
    async with env.store.transaction() as tx:
        if await monitors.goes_on(tx, request.instance):
            await signed_controls.admit(tx, env.decision_key, request)
        return await monitors.plan(tx, request)


async def check(env: Env, message: dict[str, Any]) -> Health:
    """Asks a service: a 2xx within the timeout is healthy, anything else is not.

    Redirects are not followed, and no body is read: how large it is is not our affair.
    """
    checks = Checks.model_validate(message)
    try:
        async with asyncio.timeout(checks.check_timeout):
            status = await _status(env, checks.url)
    except TimeoutError:
        return Health(healthy=False, reason=f"no answer within {checks.check_timeout:g} s")
    except Exception as error:
        # Whatever a URL or a service can make the client raise says that it is not reachable.
        return Health(healthy=False, reason=f"{type(error).__name__}: {error}"[:200].rstrip(": "))
    return Health(healthy=200 <= status < 300, reason=f"HTTP {status}")


async def _status(env: Env, url: str) -> int:
    # A client of its own: a kept connection would blame a service for a restart long past, and
    # cookies would be carried from one service to the next.
    async with (
        httpx.AsyncClient(verify=_tls(), timeout=None, transport=env.outside) as client,
        client.stream("GET", url, headers={"User-Agent": "steadfast-health"}) as response,
    ):
        return response.status_code


@cache
def _tls() -> ssl.SSLContext:
    # Reading the certificates takes 20 ms; a context may serve any number of clients.
    return httpx.create_ssl_context()


async def compare(env: Env, message: dict[str, Any]) -> Round:
    """Compares a finding with the round before, once, and says which alerts are due."""
    async with env.store.transaction() as tx:
        return await monitors.compare(tx, Finding.model_validate(message))


async def alert(env: Env, message: dict[str, Any]) -> Answer:
    """Sends an alert under its incident's key, and notes that it was sent.

    Raises:
        Fault: nobody knows whether it was sent; to be retried with the same key.
        TimeoutError: the same.
    """
    call = Call.model_validate(message)
    async with env.store.reading() as tx:
        settled = await interventions.settled_by_hand(tx, call.key)
    if settled:
        answer = Answer(result="settled")
    else:
        answer = await perform(env, "notifier.send", call, call.body, step=True)
    if answer.done:
        _, incident, what = call.key.rsplit("/", 2)
        async with env.store.transaction() as tx:
            await monitors.told(tx, call.instance, int(incident), what)
    return answer


async def ask(env: Env, message: dict[str, Any]) -> None:
    """Asks a person about an alert that could not be sent; the monitor goes on meanwhile."""
    untold = Untold.model_validate(message)
    reason = f"{untold.answer.result}: {untold.answer.reason or 'no reason given'}"
    kind: IncidentKind = "poison" if untold.answer.result == "parked" else "step_failed"
    _, incident, _ = untold.key.rsplit("/", 2)
    async with env.store.transaction() as tx:
        await monitors.untold(tx, untold.instance, int(incident))
        await interventions.ask_once(tx, untold.instance, untold.key, kind, reason)
