"""What the audit cannot account for, for those who look after it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from sqlalchemy import RowMapping

from app.api.auth import Operator
from app.api.common import ServicesOf
from app.api.views import moment
from app.api.workflows import Limit
from store import findings

router = APIRouter(tags=["interventions"])

FindingState = Literal["waiting", "found", "asked", "settled", "owed", "refunding", "refunded"]


@router.get("/audit/findings")
async def list_findings(
    services: ServicesOf,
    _: Operator,
    state: FindingState = "asked",
    after: Annotated[str | None, Query(pattern=r"^[!-~]{1,200}$")] = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Charges in order of their keys; `next` is the cursor of the next page, if there is one."""
    async with services.store.reading() as tx:
        rows = await findings.page(tx, state=state, after=after, limit=limit + 1)
    items = [_finding(row) for row in rows[:limit]]
    return {"items": items, "next": rows[limit - 1]["key"] if len(rows) > limit else None}


def _finding(row: RowMapping) -> dict[str, Any]:
    return {
        "key": row["key"],
        "instance": row["instance"],
        "state": row["state"],
        "why": row["why"],
        "found_at": moment(row["found_at"]),
        "look_at": moment(row["look_at"]),
        "settled_at": moment(row["settled_at"]),
    }
