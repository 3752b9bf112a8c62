"""Interventions: what waits for a person, and the person's answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth import Operator
from app.api.common import ServicesOf
from app.api.views import intervention
from app.api.workflows import Limit
from app.errors import Problem
from store import interventions, records
from workflows import of_record
from workflows.inputs import ID_PATTERN, Exact, Note

router = APIRouter(tags=["interventions"])

INTERVENTION = ID_PATTERN.rstrip("$") + r"/[A-Za-z0-9._:/-]{1,110}$"


# Where nothing waits for the answer, these are for a person to do.
BY_HAND = ("step_failed", "terminated")


class Answer(Exact):
    """`retry` tries again from zero; `settled` says that it was settled by hand."""

    action: Literal["retry", "settled"]
    note: Note


@router.get("/interventions")
async def list_interventions(
    services: ServicesOf,
    _: Operator,
    status: Literal["open", "all"] = "open",
    after: Annotated[str | None, Query(pattern=INTERVENTION)] = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Interventions in order of their ids; `next` is the cursor of the next page."""
    async with services.store.reading() as tx:
        rows = await interventions.page(
            tx, open_only=status == "open", after=after, limit=limit + 1
        )
    items = [intervention(row) for row in rows[:limit]]
    return {"items": items, "next": rows[limit - 1]["id"] if len(rows) > limit else None}


async def _is_by_hand(tx: AsyncConnection, asked: RowMapping) -> bool:
    if asked["blocking"] or asked["kind"] not in BY_HAND:
        return False
    record = await records.get(tx, asked["instance"])
    # The next round of one that goes on for ever sends what this one could not.
    return record is None or not of_record(record).eternal


@router.post("/interventions/{id:path}")
async def answer_intervention(
    services: ServicesOf,
    operator: Operator,
    id: Annotated[str, Path(pattern=INTERVENTION, examples=["order-1/refund/1"])],
    answer: Answer,
) -> dict[str, Any]:
    """Answers an intervention. Of two people who answer at once, one gets 409.

    So does who has something tried again that nothing waits for, as a letter that was skipped.
    """
    async with services.store.transaction() as tx:
        asked = await interventions.get(tx, id)
        if asked is None:
            raise Problem(404, "unknown-intervention", "No such intervention")
        if answer.action == "retry" and await _is_by_hand(tx, asked):
            why = "its instance has gone on: do it by hand, and answer settled"
            raise Problem(409, "not-retried", "Nothing would try it again", why)
        won = await interventions.answer(
            tx, id, action=answer.action, note=answer.note, by=operator.subject
        )
        row = await interventions.get(tx, id)
    if not won or row is None:
        raise Problem(409, "answered", "Answered already", "GET it to see by whom")
    services.relay.notify()
    return intervention(row)
