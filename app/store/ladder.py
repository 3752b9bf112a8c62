"""What the reconciler asks the records, and what it notes there."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import RowMapping, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import records
from app.store.inbox import ALWAYS_RAISED, AWAITED
from app.store.schema import inbox, interventions, waits
from app.store.schema import records as table


async def stalled(tx: AsyncConnection, patience: float, limit: int) -> list[RowMapping]:
    """Instances without progress for `patience` seconds past what they are known to wait for.

    An instance that is suspended, or parked for a person who has not answered, is left alone; so
    is one that waits for a date that has not come and an event that nobody has sent.
    """
    at = records.now() - timedelta(seconds=patience)
    heard = exists().where(
        inbox.c.instance == table.c.id,
        inbox.c.consumed_at.is_(None),
        inbox.c.received_at < at,
        or_(
            inbox.c.name.in_(ALWAYS_RAISED),
            exists().where(
                waits.c.instance == inbox.c.instance,
                waits.c.name == inbox.c.name,
                waits.c.state.in_(AWAITED),
            ),
        ),
    )
    answered = exists().where(
        interventions.c.id == table.c.waiting_for,
        or_(
            interventions.c.answered_at < at,
            and_(interventions.c.kind == "stuck", interventions.c.answered_at.is_not(None)),
        ),
    )
    overdue = or_(
        and_(table.c.status == "RUNNING", table.c.progress_at < at),
        and_(table.c.status == "WAITING", or_(table.c.due_at < at, heard)),
        and_(table.c.status == "PARKED", or_(answered, heard)),
        and_(table.c.status == "ACCEPTED", table.c.progress_at < at),
    )
    query = (
        select(table)
        .where(table.c.state == "scheduled", table.c.suspended.is_(False), overdue)
        .order_by(table.c.progress_at)
        .limit(limit)
    )
    return [row for row in (await tx.execute(query)).mappings() if _patient(row, at)]


def _patient(row: RowMapping, at: datetime) -> bool:
    """Whether even the longest pause between two honest attempts is over."""
    if row["status"] != "RUNNING":
        return True
    pause = timedelta(seconds=1.25 * row["input"].get("retry", {}).get("cap", 30))
    idle: bool = row["progress_at"] + pause < at
    return idle


async def woken(tx: AsyncConnection, id: str) -> None:
    """Notes that an instance was woken; progress makes that forgotten."""
    await tx.execute(
        update(table).where(table.c.id == id, records.OPEN).values(woken_at=records.now())
    )


async def run_again(tx: AsyncConnection, id: str, *, runs: int) -> None:
    """Hands an instance to the relay once more: same id, same input, the record knows the rest."""
    await tx.execute(
        update(table)
        .where(table.c.id == id, table.c.state == "scheduled")
        .values(
            state="accepted",
            status="ACCEPTED",
            waiting_for=None,
            due_at=None,
            claimed_until=None,
            runs=runs,
            woken_at=None,
            progress_at=records.now(),
        )
    )


async def park(tx: AsyncConnection, id: str, intervention: str) -> None:
    """The ladder has ended: a person decides."""
    await records.progress(tx, id, status="PARKED", waiting_for=intervention, expected_at=None)


async def held(tx: AsyncConnection, before: datetime, limit: int) -> list[RowMapping]:
    """Instances whose step waits for the reconciliation loop."""
    query = (
        select(table)
        .where(table.c.state == "scheduled", table.c.suspended.is_(False))
        .where(table.c.waiting_for == "reconcile", table.c.progress_at < before)
        .order_by(table.c.progress_at)
        .limit(limit)
    )
    return list((await tx.execute(query)).mappings())


async def forgettable(tx: AsyncConnection, before: datetime, limit: int) -> list[RowMapping]:
    """Ended instances that the engine may forget; their records stay."""
    query = (
        select(table.c.id, table.c.engine_id)
        .where(table.c.state == "ended", table.c.purged.is_(False), table.c.ended_at < before)
        .order_by(table.c.ended_at)
        .limit(limit)
    )
    return list((await tx.execute(query)).mappings())


async def forgotten(tx: AsyncConnection, id: str) -> None:
    """The engine has forgotten it."""
    await tx.execute(update(table).where(table.c.id == id).values(purged=True))
