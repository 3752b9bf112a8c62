"""The end of the ladder: out of the engine's hands, undone from here, and then a person's.

Nothing is undone beside a run that may be alive: the engine's instance is ended first, and seen to
have ended. The direction is recorded before the first undo, so a run that wakes up later, and one
that a person asks for, find it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from pydantic import ValidationError

from activities.effect import Env
from app.audit import undo_without_engine
from app.engine import Engine, EngineConfused, EngineUnavailable
from store import inbox, interventions, ladder, records
from workflows import UnknownKind, of_record
from workflows.messages import DirectionChange, Incident

log = logging.getLogger(__name__)

CLAIM = 300.0  # seconds; every undo of an instance, each of which may last 30
UNSTOPPABLE = 600.0  # seconds after which a person is asked about what does not stop
ABREAST = 8
IN_VAIN = "the engine got nowhere with it"
TOO_LATE = "nothing was undone: it is behind its pivot, and only forward is a way out"
UNHEARD = "nothing was undone: no run has taken what came meanwhile"
UNREADABLE = "nothing was undone: its record cannot be read"
NOT_STOPPED = "nothing was undone: the engine can neither run nor stop it"


async def sweep(env: Env, engine: Engine) -> list[str]:
    """Goes on with instances that were given up; returns the ids of those that are parked now."""
    async with env.store.transaction() as tx:
        rows = await ladder.claim_given_up(tx, ABREAST, CLAIM)
    done = await asyncio.gather(
        *(_undo_and_ask(env, engine, row) for row in rows), return_exceptions=True
    )
    for row, came in zip(rows, done, strict=True):
        if isinstance(came, BaseException):
            log.error("%s: not undone yet", row["id"], exc_info=came)
    return [row["id"] for row, parked in zip(rows, done, strict=True) if parked is True]


async def _undo_and_ask(env: Env, engine: Engine, row: Any) -> bool:
    """May be done again if whoever did it dies half-way; `False` if it is not parked."""
    if not await _is_still_ours(env, row):
        return False
    stopped = await _stop(engine, row["engine_id"])
    if stopped is None:
        # One that moved meanwhile has no `woken_at` any more.
        waited = (records.now() - (row["woken_at"] or row["progress_at"])).total_seconds()
        if waited < UNSTOPPABLE or not await engine.answers():
            return False  # the engine is away: later, when the claim is over
        stopped = False
    cause = row["reason"] if row["direction"] == "forward" else IN_VAIN
    if not stopped:
        return await _ask(env, row["id"], f"{cause}; {NOT_STOPPED}")
    if row["pivoted"]:
        return await _ask(env, row["id"], f"{cause}; {TOO_LATE}")
    if not _readable(row):
        return await _ask(env, row["id"], f"{cause}; {UNREADABLE}")
    unheard = await _turn_down(env, row["id"], cause)
    if unheard is None:
        return False
    if unheard:
        return await _ask(env, row["id"], f"{cause}; {UNHEARD}: {', '.join(unheard)}")
    return await _ask(env, row["id"], f"{cause}; {await undo_without_engine(env, row)}")


async def _is_still_ours(env: Env, row: Any) -> bool:
    """Whether it is still given up: whoever was paused since must not stop a run that lives."""
    async with env.store.transaction() as tx:
        record = await records.get(tx, row["id"], lock=True)
    return (
        record is not None
        and record["state"] == "given_up"
        and record["woken_at"] in (None, row["woken_at"])
        and record["runs"] == row["runs"]
    )


async def _stop(engine: Engine, engine_id: str) -> bool | None:
    """Whether it has ended in the engine; `None` when nobody knows."""
    try:
        await engine.stop(engine_id)
    except EngineUnavailable as error:
        log.warning("ladder: not stopped: %s", error)
        unreadable = isinstance(error, EngineConfused) and await engine.answers()
        return False if unreadable else None
    return True


async def _turn_down(env: Env, id: str, cause: str) -> list[str] | None:
    """Records the direction; returns the events because of which it does not.

    One of those may be the pivot: the parcel has left. `None` where it is no longer ours, as one
    that moved before it was stopped and is run again.
    """
    async with env.store.transaction() as tx:
        record = await records.get(tx, id, lock=True)
        if record is None or record["state"] != "given_up":
            return None
        if record["direction"] == "down" or (record["woken_at"] and not _undos(record)):
            return []
        if record["woken_at"] is None:
            await ladder.run_again(tx, record, runs=max(1, record["runs"]))
            return None
        # The record's lock keeps others out: what is kept from now on finds it on its way down.
        unheard = await inbox.unheard(tx, id)
        if not unheard:
            await records.turn(
                tx, DirectionChange(instance=id, direction="down", reason=cause[:500])
            )
            await interventions.close_forward(tx, id)
    return unheard


def _undos(record: Any) -> bool:
    return any(step.undo for step in of_record(record).steps)


def _readable(record: Any) -> bool:
    try:
        of_record(record).input.accepted(record["input"])
    except (UnknownKind, ValidationError):
        return False
    return True


async def _ask(env: Env, id: str, reason: str) -> bool:
    async with env.store.transaction() as tx:
        record = await records.get(tx, id, lock=True)
        if record is None or record["state"] != "given_up":
            return False
        asked = [one for one in await interventions.of_instance(tx, id) if one["kind"] == "stuck"]
        incident = Incident(
            instance=id,
            key=f"{id}/engine",
            n=interventions.following(one["id"] for one in asked),
            kind="stuck",
            reason=reason[:500],
        )
        await interventions.open_(tx, incident)
        await ladder.park(tx, id, incident.id)
    return True
