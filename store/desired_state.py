"""What an operator wants of an instance: kept in its record first, then carried to the engine."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping, and_, bindparam, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import attempts, interventions, records
from store.schema import records as table
from workflows.messages import Ending, Incident

CLAIM = 30.0  # seconds; longer than the calls that bring the engine to agree


async def want(
    tx: AsyncConnection, id: str, *, suspended: bool | None = None, terminated_by: str | None = None
) -> bool:
    """Notes that an instance is to rest, to go on, or to be stopped; `False` if it has ended.

    Whoever notes it carries it; the relay does if that was in vain.
    """
    at = records.now()
    values: dict[str, Any] = {"control_at": at + timedelta(seconds=CLAIM)}
    if suspended is not None:
        values |= {"suspended": suspended, "progress_at": at, "woken_at": None}
        # Whatever was to be heard of it while it rested is to be heard of now.
        values["expected_at"] = case((table.c.expected_at < at, at), else_=table.c.expected_at)
    if terminated_by is not None:
        values["terminated_by"] = terminated_by
    noted = await tx.execute(update(table).where(table.c.id == id, records.OPEN).values(**values))
    return noted.rowcount == 1


_UNAGREED = (
    select(table)
    .where(table.c.control_at <= bindparam("at"))
    .order_by(table.c.control_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)


async def claim(tx: AsyncConnection, limit: int) -> list[RowMapping]:
    """Takes instances with which the engine does not agree yet, each for `CLAIM` seconds."""
    at = records.now()
    rows = list((await tx.execute(_UNAGREED, {"at": at, "most": limit})).mappings())
    ids = [row["id"] for row in rows]
    if ids:
        again = at + timedelta(seconds=CLAIM)
        await tx.execute(update(table).where(table.c.id.in_(ids)).values(control_at=again))
    return rows


async def agreed(tx: AsyncConnection, row: Any) -> None:
    """The engine does what was wanted; somebody may want something else by now."""
    same = and_(
        table.c.id == row["id"],
        table.c.suspended.is_(row["suspended"]),
        table.c.engine_id == row["engine_id"],
        table.c.terminated_by.is_not_distinct_from(row["terminated_by"]),
    )
    await tx.execute(update(table).where(same).values(control_at=None))


async def end_terminated(tx: AsyncConnection, id: str, by: str) -> bool:
    """Ends a terminated instance, and asks a person about the effects that it left standing.

    Returns `False` when it had ended before.
    """
    record = await records.get(tx, id, lock=True)
    if record is None or record["state"] == "ended":
        return False
    left = await attempts.standing(tx, id)
    await records.end(tx, Ending(instance=id, outcome="TERMINATED", reason=f"terminated by {by}"))
    incident = Incident(
        instance=id,
        key=f"{id}/terminate",
        n=1,
        kind="terminated",
        reason=("left standing: " + ", ".join(left) if left else "nothing was left standing")[:500],
        blocking=False,
    )
    await interventions.open_(tx, incident)
    return True


async def roll_back(tx: AsyncConnection, id: str, done: Collection[str], reason: str) -> bool:
    """Reopens an ended instance on its way down; `False` if its outcome is none that means `done`.

    The ladder begins anew, as after a person's `retry`: what was lost of its first life is no
    reason to give up its second.
    """
    at = records.now()
    reopened = await tx.execute(
        update(table)
        .where(table.c.id == id, table.c.state == "ended", table.c.outcome.in_(done))
        .values(
            state="accepted",
            status="ACCEPTED",
            direction="down",
            reason=reason,
            outcome=None,
            ended_at=None,
            purged=False,
            suspended=False,
            control_at=None,
            claimed_until=at,
            start_failures=0,
            runs=1,
            woken_at=None,
            progress_at=at,
            expected_at=at,
        )
    )
    return reopened.rowcount == 1
