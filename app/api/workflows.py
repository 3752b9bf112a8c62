"""Instances as seen from outside."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from sqlalchemy import select

from app.api.auth import Reader
from app.api.common import PathId, ServicesOf
from app.api.views import view
from app.errors import Problem
from store import attempts, interventions, records
from store.schema import inbox
from workflows import WORKFLOWS
from workflows.inputs import ID_PATTERN

router = APIRouter(tags=["workflows"])

Status = Literal["ACCEPTED", "RUNNING", "WAITING", "PARKED", "SUSPENDED", "ENDED"]
Cursor = Annotated[str | None, Query(pattern=ID_PATTERN)]
Limit = Annotated[int, Query(ge=1, le=200)]
KINDS = frozenset(workflow.kind for workflow in WORKFLOWS)
Kind = Annotated[
    str | None, Query(max_length=50, json_schema_extra={"enum": [*sorted(KINDS), None]})
]


def unknown(id: str) -> Problem:
    """The problem of an id that nobody has accepted."""
    return Problem(404, "unknown-workflow", "No such workflow", f"id {id!r} was never accepted")


@router.get("/workflows")
async def list_workflows(
    services: ServicesOf,
    _: Reader,
    kind: Kind = None,
    status: Status | None = None,
    version: Annotated[str | None, Query(max_length=20)] = None,
    after: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Instances in order of their ids; `next` is the cursor of the next page, if there is one.

    A version of the code has drained when no instance of it is left that has not ended.
    """
    if kind is not None and kind not in KINDS:
        raise Problem(422, "invalid", "Not valid", f"kind is one of {', '.join(sorted(KINDS))}")
    async with services.store.reading() as tx:
        rows = await records.page(
            tx, kind=kind, status=status, version=version, after=after, limit=limit + 1
        )
    items = [view(row) for row in rows[:limit]]
    for item in items:
        del item["timeline"], item["attempts"], item["error"]
    return {"items": items, "next": rows[limit - 1]["id"] if len(rows) > limit else None}


@router.get("/workflows/{id}")
async def get_workflow(services: ServicesOf, _: Reader, id: PathId) -> dict[str, Any]:
    """One instance: status, step, what it waits for, attempts, last error, timeline."""
    async with services.store.reading() as tx:
        record = await records.get(tx, id)
        if record is None:
            raise unknown(id)
        events = await tx.execute(
            select(inbox).where(inbox.c.instance == id).order_by(inbox.c.received_at)
        )
        return view(
            record,
            await attempts.of_instance(tx, id),
            list(events.mappings()),
            await interventions.of_instance(tx, id),
        )
