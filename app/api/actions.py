"""What an operator may do to an instance.

What is wanted is kept in the record first, with who wants it and why; the relay carries it to the
engine until both agree. So an answer of 202 is a promise, and 200 says that it is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth import Operator
from app.api.common import PathId, Services, ServicesOf
from app.api.views import view
from app.api.workflows import unknown
from app.engine import EngineUnavailable
from app.errors import Problem
from store import audit_trail, desired_state, interventions, monitor_controls, records, runs
from workflows import WORKFLOWS, Workflow, of_record
from workflows.health_monitor import Control
from workflows.inputs import Exact, Note

router = APIRouter(tags=["actions"])

log = logging.getLogger(__name__)


class Why(Exact):
    """The reason for an action; it is kept beside who did it."""

    reason: Note | None = None


Reason = Annotated[Why | None, Body()]


async def _open(tx: AsyncConnection, id: str) -> RowMapping:
    """The record of an instance that has not ended, locked until the end of the transaction.

    Raises:
        Problem: 404, nobody accepted it; 409, it has ended.
    """
    record = await records.get(tx, id, lock=True)
    if record is None:
        raise unknown(id)
    if record["state"] == "ended":
        raise Problem(409, "ended", "Ended already", f"its outcome is {record['outcome']}")
    return record


async def _note(tx: AsyncConnection, id: str, what: str, by: Operator, why: Reason) -> None:
    await audit_trail.write(
        tx,
        instance=id,
        who=by.subject,
        via="api",
        what=what,
        verdict="accepted",
        event_id=None,
        note=why.reason if why else None,
    )


async def _shown(services: Services, id: str) -> dict[str, Any]:
    async with services.store.reading() as tx:
        record = await records.get(tx, id)
    if record is None:
        raise unknown(id)
    return view(record)


@router.post("/workflows/{id}/cancel", status_code=202)
async def cancel(
    services: ServicesOf, operator: Operator, id: PathId, why: Reason = None
) -> dict[str, Any]:
    """Asks an instance to undo everything; 409 where that is known to be too late.

    What turns out to be too late only when it is tried, the outcome says.
    """
    async with services.store.transaction() as tx:
        record = await _open(tx, id)
        if of_record(record).eternal:
            # It has no step to undo, and hears nothing but controls.
            await monitor_controls.keep(tx, id, Control(event_id="cancel", action="stop"))
        elif not await runs.cancel(tx, id):
            raise Problem(
                409,
                "too-late",
                "Too late",
                "its effects can no longer be undone",
            )
        await _note(tx, id, "cancel", operator, why)
    services.relay.notify()
    return await _shown(services, id)


@router.post("/workflows/{id}/suspend")
async def suspend(
    services: ServicesOf, operator: Operator, id: PathId, response: Response, why: Reason = None
) -> dict[str, Any]:
    """Lets an instance take no further step until it is resumed."""
    return await _want(services, operator, id, response, "suspend", why, suspended=True)


@router.post("/workflows/{id}/resume")
async def resume(
    services: ServicesOf, operator: Operator, id: PathId, response: Response, why: Reason = None
) -> dict[str, Any]:
    """Lets a suspended instance go on."""
    return await _want(services, operator, id, response, "resume", why, suspended=False)


async def _want(
    services: Services,
    by: Operator,
    id: str,
    response: Response,
    what: str,
    why: Reason,
    **wish: Any,
) -> dict[str, Any]:
    """Keeps what is wanted and tells the engine at once; 202 when it is only going to be told."""
    async with services.store.transaction() as tx:
        await _open(tx, id)
        await desired_state.want(tx, id, **wish)
        await _note(tx, id, what, by, why)
    if not await services.relay.control(id):
        response.status_code = 202
    services.relay.notify()
    return await _shown(services, id)


@router.post("/workflows/{id}/retry")
async def retry(
    services: ServicesOf, operator: Operator, id: PathId, why: Reason = None
) -> dict[str, Any]:
    """Tries the failed step again now: one parked for a person, or held to be reconciled."""
    async with services.store.transaction() as tx:
        record = await _open(tx, id)
        asked = record["waiting_for"] if record["status"] == "PARKED" else None
        held = record["waiting_for"] == "reconcile"
        note = (why.reason if why else None) or "retry"
        if not held and (
            asked is None
            or not await interventions.answer(
                tx, asked, action="retry", note=note, by=operator.subject
            )
        ):
            raise Problem(
                409,
                "not-parked",
                "Nothing to retry",
                "it waits for no answer",
            )
        await _note(tx, id, "retry", operator, why)
    if held:
        try:
            await services.engine.raise_event(record["engine_id"], "reconcile")
        except EngineUnavailable as error:
            # The reconciler raises it too, as soon as the engine listens.
            log.warning("not raised yet: %s", error)
    services.relay.notify()
    return await _shown(services, id)


@router.post("/workflows/{id}/terminate", status_code=202)
async def terminate(
    services: ServicesOf, operator: Operator, id: PathId, response: Response, why: Reason = None
) -> dict[str, Any]:
    """The last resort: stops an instance as it is; an intervention lists what it left standing."""
    shown = await _want(
        services, operator, id, response, "terminate", why, terminated_by=operator.subject
    )
    response.headers["Location"] = f"/interventions/{id}/terminate/1"
    return shown


def _rollback(workflow: Workflow) -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    async def roll_back(
        services: ServicesOf, operator: Operator, id: PathId, why: Reason = None
    ) -> dict[str, Any]:
        """Undoes what was done, after the end: what was there before is there again.

        Unless something newer is there by now: that is left alone.
        """
        async with services.store.transaction() as tx:
            record = await records.get(tx, id, lock=True)
            if record is None or record["kind"] != workflow.kind:
                raise unknown(id)
            done, reason = workflow.done, "rolled back on request"
            under_way = record["direction"] == "down"
            if not under_way and not await desired_state.roll_back(tx, id, done, reason):
                why_not = f"it is not {' or '.join(sorted(done))}"
                raise Problem(409, "not-ready", "Nothing to roll back", why_not)
            await _note(tx, id, "rollback", operator, why)
        services.relay.notify()
        return await _shown(services, id)

    return roll_back


for _workflow in WORKFLOWS:
    if _workflow.latest and _workflow.revocable:
        _path = f"{_workflow.path}/{{id}}/rollback"
        router.post(_path, status_code=202, tags=["starts"])(_rollback(_workflow))
