"""What an operator may do to an instance."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import RowMapping

from app.api.common import Parts, PartsOf, PathId
from app.api.views import view
from app.api.workflows import unknown
from app.auth import Operator
from app.engine import ENDED, EngineUnavailable
from app.errors import Problem
from app.store import control, controls, inbox, interventions, records
from workflows.health_monitor import Control

router = APIRouter(tags=["actions"])


async def _open(parts: Parts, id: str) -> RowMapping:
    """The record of an instance that has not ended.

    Raises:
        Problem: 404, nobody accepted it; 409, it has ended.
    """
    async with parts.store.reading() as tx:
        record = await records.get(tx, id)
    if record is None:
        raise unknown(id)
    if record["state"] == "ended":
        raise Problem(409, "ended", "Ended already", f"its outcome is {record['outcome']}")
    return record


async def _shown(parts: Parts, id: str) -> dict[str, Any]:
    async with parts.store.reading() as tx:
        record = await records.get(tx, id)
    if record is None:
        raise unknown(id)
    return view(record)


@router.post("/workflows/{id}/cancel", status_code=202)
async def cancel(parts: PartsOf, operator: Operator, id: PathId) -> dict[str, Any]:
    """Asks an instance to undo everything. Where that is too late, its outcome says so."""
    record = await _open(parts, id)
    async with parts.store.transaction() as tx:
        if record["kind"] == "health_monitor":
            # It has no step to undo, and hears nothing but controls.
            await controls.keep(tx, id, Control(event_id="cancel", action="stop"))
        else:
            await inbox.keep(
                tx, instance=id, event_id="cancel", name="cancel", type="cancel", data={}
            )
    parts.relay.poke()
    return await _shown(parts, id)


@router.post("/workflows/{id}/suspend")
async def suspend(parts: PartsOf, operator: Operator, id: PathId) -> dict[str, Any]:
    """Lets an instance take no further step until it is resumed."""
    return await _rest(parts, id, suspended=True)


@router.post("/workflows/{id}/resume")
async def resume(parts: PartsOf, operator: Operator, id: PathId) -> dict[str, Any]:
    """Lets a suspended instance go on."""
    return await _rest(parts, id, suspended=False)


async def _rest(parts: Parts, id: str, *, suspended: bool) -> dict[str, Any]:
    record = await _open(parts, id)
    call = parts.engine.suspend if suspended else parts.engine.resume
    try:
        await call(record["engine_id"])
    except EngineUnavailable as error:
        raise Problem(503, "engine-unavailable", "Try again", str(error)) from error
    async with parts.store.transaction() as tx:
        await control.suspend(tx, id, suspended)
    return await _shown(parts, id)


@router.post("/workflows/{id}/retry")
async def retry(parts: PartsOf, operator: Operator, id: PathId) -> dict[str, Any]:
    """Answers what an instance is parked for with `retry`; it goes on at the failed step."""
    record = await _open(parts, id)
    async with parts.store.transaction() as tx:
        asked = record["waiting_for"] if record["status"] == "PARKED" else None
        if asked is None or not await interventions.answer(
            tx, asked, action="retry", note="retry", by=operator.subject
        ):
            raise Problem(409, "not-parked", "Nothing to retry", "it waits for no person")
    parts.relay.poke()
    return await _shown(parts, id)


@router.post("/workflows/{id}/terminate", status_code=202)
async def terminate(
    parts: PartsOf, operator: Operator, id: PathId, response: Response
) -> dict[str, Any]:
    """The last resort: stops an instance as it is; an intervention lists what it left standing."""
    engine_id = (await _open(parts, id))["engine_id"]
    try:
        state = await parts.engine.state(engine_id)
        if state is not None and state.status not in ENDED:
            await parts.engine.terminate(engine_id)
            await parts.engine.settled(engine_id)
    except EngineUnavailable as error:
        raise Problem(503, "engine-unavailable", "Try again", str(error)) from error
    async with parts.store.transaction() as tx:
        await control.end_terminated(tx, id, operator.subject)
    response.headers["Location"] = f"/interventions/{id}/terminate/1"
    return await _shown(parts, id)


@router.post("/deployments/{id}/rollback", status_code=202, tags=["starts"])
async def roll_back(parts: PartsOf, operator: Operator, id: PathId) -> dict[str, Any]:
    """Brings back the version that was live before, unless a newer one is live by now."""
    async with parts.store.transaction() as tx:
        record = await records.get(tx, id, lock=True)
        if record is None or record["kind"] != "model_deployment":
            raise unknown(id)
        under_way = record["direction"] == "down"
        if not under_way and not await control.roll_back(tx, id, "rolled back on request"):
            raise Problem(409, "not-ready", "Nothing to roll back", "it is not READY")
    parts.relay.poke()
    return await _shown(parts, id)
