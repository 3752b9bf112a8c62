"""Monitors: their state, their incidents, and their controls."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth import Operator, Reader
from app.api.common import PathId, ServicesOf
from app.api.views import moment
from app.api.workflows import Limit, unknown
from app.errors import Problem
from store import audit_trail, monitor_controls, monitors, records
from workflows.health_monitor import V1, Control

router = APIRouter(tags=["monitors"])

WHATS = ("flapping", "warning", "critical", "recovery", "stable")


async def _monitor(tx: AsyncConnection, id: str) -> RowMapping:
    """The record of a monitor.

    Raises:
        Problem: 404, it is none, or nobody accepted it.
    """
    record = await records.get(tx, id)
    if record is None or record["kind"] != V1.kind:
        raise unknown(id)
    return record


@router.get("/monitors/{id}")
async def get_monitor(services: ServicesOf, _: Reader, id: PathId) -> dict[str, Any]:
    """What a monitor knows of its service; `healthy` is null before the first check."""
    async with services.store.reading() as tx:
        record, state = await _monitor(tx, id), await monitors.get(tx, id)
    known = dict(state) if state else {}
    checked = known.get("checked_at")
    return {
        "id": id,
        "healthy": not known["failures"] if checked else None,
        "failures": known.get("failures", 0),
        "incident": known.get("incident", 0),
        "flapping": known.get("flapping") is not None,
        "checks": known.get("generation", 0),
        "checked_at": moment(checked),
        "paused": known.get("paused", False),
        "stopped": known.get("stopped", False),
        "controls": known.get("controls", 0),
        "settings": monitors.settings(record, state),
    }


@router.get("/monitors/{id}/incidents")
async def list_incidents(
    services: ServicesOf,
    _: Reader,
    id: PathId,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Incidents in order of their numbers; `next` is the cursor of the next page."""
    async with services.store.reading() as tx:
        await _monitor(tx, id)
        rows = await monitors.page(tx, id, after, limit + 1)
    items = [
        {
            "n": row["n"],
            "reason": row["reason"],
            **{at: moment(row[at]) for at in ("opened_at", "critical_at", "closed_at")},
            "held": row["held"],
            "told": [what for what in WHATS if row[f"{what}_told"]],
        }
        for row in rows[:limit]
    ]
    return {"items": items, "next": items[-1]["n"] if len(rows) > limit else None}


@router.post("/monitors/{id}/control", status_code=202)
async def control_monitor(
    services: ServicesOf, operator: Operator, id: PathId, control: Control
) -> dict[str, Any]:
    """Stops, pauses, resumes or updates a monitor; the same event id does so once."""
    async with services.store.transaction() as tx:
        record = await _monitor(tx, id)
        if record["state"] == "ended":
            raise Problem(409, "ended", "Ended already", f"its outcome is {record['outcome']}")
        event_id = await monitor_controls.keep(tx, id, control)
        if not await audit_trail.has(tx, id, event_id):
            await audit_trail.write(
                tx,
                instance=id,
                who=operator.subject,
                via="api",
                what=control.action,
                verdict="accepted",
                event_id=event_id,
            )
    services.relay.notify()
    return {"id": id, "event_id": event_id}
