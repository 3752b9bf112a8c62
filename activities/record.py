"""The application's own store, seen from a workflow. Each of these may run twice unharmed."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from activities import decisions
from activities.effect import Env, tell_of_lost
from store import inbox, interventions, records, runs
from workflows.approval import EVENT
from workflows.messages import (
    WAKE_UP,
    DirectionChange,
    Ending,
    Hold,
    Incident,
    Resolution,
    RunPermit,
    Start,
    Wait,
    WaitResult,
)


async def begin(env: Env, message: dict[str, Any]) -> RunPermit:
    """Whether this run may proceed, which way, and with which input."""
    start = Start.model_validate(message)
    async with env.store.transaction() as tx:
        return await runs.begin(tx, start)


async def turn(env: Env, message: dict[str, Any]) -> None:
    """Records a change of direction before the first effect that it leads to."""
    change = DirectionChange.model_validate(message)
    async with env.store.transaction() as tx:
        await records.turn(tx, change)
        if change.direction == "down":
            await interventions.close_forward(tx, change.instance)


async def hold(env: Env, message: dict[str, Any]) -> None:
    """Notes that a step waits for the reconciliation loop."""
    hold = Hold.model_validate(message)
    async with env.store.transaction() as tx:
        await records.progress(
            tx, hold.instance, status="WAITING", step=hold.step, waiting_for="reconcile"
        )


async def take(env: Env, message: dict[str, Any]) -> WaitResult:
    """Takes the event that a wait is for, or says until when to wait.

    A signal that carries something was raised past the API: what it carries is judged first.
    """
    wait = Wait.model_validate(message)
    try:
        async with env.store.transaction() as tx:
            if wait.name == EVENT and _carries(wait.raised):
                await decisions.admit_raised(tx, env.decision_key, wait)
            else:
                await _refuse_what_carries(tx, wait.instance, wait.name, wait.raised)
            return await inbox.take(tx, wait)
    except records.Lost as lost:
        await tell_of_lost(env, lost)
        raise


async def open_intervention(env: Env, message: dict[str, Any]) -> None:
    """Opens an intervention, once; the relay sends its one alert."""
    async with env.store.transaction() as tx:
        await interventions.open_(tx, Incident.model_validate(message))


async def read_resolution(env: Env, message: dict[str, Any]) -> Resolution:
    """The answer of a person, if there is one yet."""
    incident = Incident.model_validate(message)
    async with env.store.transaction() as tx:
        await _refuse_what_carries(tx, incident.instance, "intervention", incident.raised)
        return await interventions.read_resolution(tx, incident)


async def end(env: Env, message: dict[str, Any]) -> None:
    """Keeps the outcome where it outlives the engine's instance."""
    async with env.store.transaction() as tx:
        await records.end(tx, Ending.model_validate(message))


def _carries(raised: Any) -> bool:
    return raised not in ({}, WAKE_UP, None)


async def _refuse_what_carries(tx: AsyncConnection, instance: str, name: str, raised: Any) -> None:
    """Tells somebody, once until they have looked, of a wake-up signal with a message past the API.

    Nothing of it is believed: the inbox is the truth.
    """
    if _carries(raised):
        reason = f"an event `{name}` that was raised past the API was refused: it is unsigned"
        await interventions.ask_once(tx, instance, f"{instance}/raised-{name}", "forged", reason)
