"""What the reconciler asks the records, and what it notes there. Every query is of an index."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    and_,
    bindparam,
    case,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from store import monitor_controls, records
from store.queue import AWAKE
from store.schema import interventions
from store.schema import records as table

# Where a page of a list ended: the time and the id of its last row.
Place = tuple[datetime, str]


def next_place(rows: list[RowMapping], at: str, limit: int) -> Place | None:
    """Where the next page of `limit` begins; at the beginning again, once all were seen."""
    return (rows[-1][at], rows[-1]["id"]) if len(rows) == limit else None


_LATE = (
    select(table)
    .where(AWAKE, table.c.expected_at < bindparam("before"))
    .order_by(table.c.expected_at, table.c.id)
    .limit(bindparam("most"))
)


async def late(
    tx: AsyncConnection, patience: float, after: Place | None, limit: int
) -> list[RowMapping]:
    """Instances of which nothing was heard for `patience` seconds past when it was expected.

    Longest first, from behind `after`. Nothing is expected of one that is suspended, or parked for
    a person who has not answered.
    """
    asked = {"before": records.now() - timedelta(seconds=patience), "most": limit}
    query = _LATE
    if after is not None:
        query = query.where(tuple_(table.c.expected_at, table.c.id) > after)
    return list((await tx.execute(query, asked)).mappings())


def _unchanged(row: Any) -> ColumnElement[bool]:
    """Whether a record is as it was seen: it got nowhere since, and nobody ran it again."""
    return and_(
        table.c.id == row["id"],
        table.c.state == row["state"],
        table.c.suspended.is_(False),
        table.c.progress_at == row["progress_at"],
        table.c.runs == row["runs"],
    )


async def still(tx: AsyncConnection, row: Any) -> bool:
    """Whether a record is as it was seen, and stays so until the end of this transaction."""
    await records.get(tx, row["id"], lock=True)
    return (await tx.execute(select(table.c.id).where(_unchanged(row)))).first() is not None


async def woken(tx: AsyncConnection, row: Any, *, anew: bool = False) -> None:
    """Notes that an instance was woken (`anew`: now and not before); progress forgets that."""
    at = records.now() if anew else func.coalesce(table.c.woken_at, records.now())
    await tx.execute(update(table).where(_unchanged(row)).values(woken_at=at))


async def adopt(tx: AsyncConnection, limit: int) -> None:
    """Expects something of up to `limit` instances of which nobody does.

    A replica of the version before knows no expectations: while replicas are replaced, it takes
    instances on without one.
    """
    unexpected = and_(AWAKE, table.c.expected_at.is_(None))
    # A paused monitor sleeps until it is told otherwise. One that waits for the reconciliation loop
    # has no date either, and is to be found.
    paused = and_(
        table.c.status == "WAITING",
        table.c.waiting_for.is_not_distinct_from(monitor_controls.NAME),
        table.c.due_at.is_(None),
    )
    # The order is no matter but to the planner: it is that of the index.
    at_work = (
        select(table.c.id)
        .where(unexpected, table.c.status != "PARKED", ~paused)
        .order_by(table.c.expected_at)
        .limit(limit)
    )
    unread = select(interventions.c.instance).where(
        interventions.c.next_raise_at.is_not(None), interventions.c.action.is_not(None)
    )
    answered = select(table.c.id).where(
        unexpected, table.c.status == "PARKED", table.c.id.in_(unread)
    )
    ids = [
        id
        for query in (at_work, answered.limit(limit))
        for id in (await tx.execute(query)).scalars()
    ]
    at = func.coalesce(table.c.due_at, records.now())
    if ids:
        await tx.execute(
            update(table).where(table.c.id.in_(ids), unexpected).values(expected_at=at)
        )


async def get_on_late(tx: AsyncConnection, id: str, seconds: float) -> bool:
    """Whether any other that was run again has got anywhere within so many seconds."""
    at, window = records.now(), timedelta(seconds=seconds)
    near = table.c.expected_at.between(at - window, at + window)
    # As above: to be handed to the relay is no progress.
    moved = and_(table.c.progress_at > at - window, table.c.status != "ACCEPTED")
    again = and_(AWAKE, near, moved, table.c.runs > 0, table.c.id != id)
    return (await tx.execute(select(table.c.id).where(again).limit(1))).first() is not None


async def expect(tx: AsyncConnection, row: Any, at: datetime | None) -> None:
    """When something is to be heard of an instance; `None` when a person is to act first."""
    await tx.execute(update(table).where(_unchanged(row)).values(expected_at=at))


async def run_again(tx: AsyncConnection, row: Any, *, runs: int) -> bool:
    """Hands an instance to the relay once more, if it still is as it was seen.

    Same id, same input; the record knows the rest.
    """
    at = records.now()
    handed = await tx.execute(
        update(table)
        .where(_unchanged(row))
        .values(
            state="accepted",
            status="ACCEPTED",
            waiting_for=None,
            due_at=None,
            claimed_until=at,
            start_failures=0,
            runs=runs,
            woken_at=None,
            progress_at=at,
            expected_at=at,
        )
    )
    return handed.rowcount == 1


async def give_up(tx: AsyncConnection, row: Any, cause: str) -> bool:
    """Takes an instance out of the engine's hands, if it still is as it was seen.

    Any progress forgets `woken_at`, so it tells whether the instance moved after all.
    """
    at = records.now()
    reason = case((table.c.direction == "forward", cause), else_=table.c.reason)
    taken = await tx.execute(
        update(table)
        .where(_unchanged(row))
        .values(state="given_up", claimed_until=at, woken_at=at, reason=reason)
    )
    return taken.rowcount == 1


async def claim_given_up(tx: AsyncConnection, limit: int, seconds: float) -> list[RowMapping]:
    """Takes up to `limit` given up instances, each for so many seconds."""
    at = records.now()
    query = (
        select(table)
        .where(table.c.state == "given_up", table.c.claimed_until <= at)
        .order_by(table.c.claimed_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = list((await tx.execute(query)).mappings())
    until = at + timedelta(seconds=seconds)
    ids = [row["id"] for row in rows]
    if ids:
        await tx.execute(update(table).where(table.c.id.in_(ids)).values(claimed_until=until))
    return rows


async def park(tx: AsyncConnection, id: str, intervention: str) -> None:
    """The ladder has ended: a person decides."""
    await records.progress(
        tx,
        id,
        state="scheduled",
        claimed_until=None,
        status="PARKED",
        waiting_for=intervention,
        expected_at=None,
    )


_ANSWERED = (
    select(table, interventions.c.id.label("intervention"), interventions.c.action)
    .join(interventions, interventions.c.id == table.c.waiting_for)
    .where(interventions.c.kind == "stuck", interventions.c.next_raise_at.is_not(None))
    .where(interventions.c.action.is_not(None), table.c.state == "scheduled")
    .limit(bindparam("most"))
)


async def answered(tx: AsyncConnection, limit: int) -> list[RowMapping]:
    """Instances at the end of the ladder whose person has answered, with the answer."""
    return list((await tx.execute(_ANSWERED, {"most": limit})).mappings())


async def heard(tx: AsyncConnection, intervention: str) -> None:
    """An answer was heard; no signal is raised for it any more."""
    await tx.execute(
        update(interventions).where(interventions.c.id == intervention).values(next_raise_at=None)
    )


def at_the_end(row: Any) -> bool:
    """Whether an instance was taken out of the engine's hands, and a person is asked about it."""
    asked = row["waiting_for"] or ""
    return row["status"] == "PARKED" and asked.startswith(f"{row['id']}/engine/")


async def unanswered(tx: AsyncConnection, row: Any) -> bool:
    """Whether an instance is parked for a person who has not answered."""
    asked = select(interventions.c.id).where(
        interventions.c.id == row["waiting_for"], interventions.c.action.is_(None)
    )
    return row["status"] == "PARKED" and (await tx.execute(asked)).first() is not None


async def held(
    tx: AsyncConnection, pause: float, after: Place | None, limit: int
) -> list[RowMapping]:
    """Instances whose step has waited for the reconciliation loop for `pause` seconds."""
    before = records.now() - timedelta(seconds=pause)
    query = select(table).where(
        AWAKE, table.c.waiting_for == "reconcile", table.c.expected_at < before
    )
    if after is not None:
        query = query.where(tuple_(table.c.expected_at, table.c.id) > after)
    query = query.order_by(table.c.expected_at, table.c.id).limit(limit)
    return list((await tx.execute(query)).mappings())


async def unstarted(tx: AsyncConnection, patience: float, limit: int) -> list[RowMapping]:
    """Instances that the engine has refused for `patience` seconds."""
    before = records.now() - timedelta(seconds=patience)
    query = (
        select(table)
        .where(table.c.state == "accepted", table.c.suspended.is_(False))
        .where(table.c.start_failures > 0, table.c.progress_at < before)
        .limit(limit)
    )
    return list((await tx.execute(query)).mappings())


async def forgettable(
    tx: AsyncConnection, retention: float, after: Place | None, limit: int
) -> list[RowMapping]:
    """Instances that ended so many seconds ago and that the engine has not forgotten."""
    before = records.now() - timedelta(seconds=retention)
    query = select(table).where(
        table.c.purged.is_(False), table.c.ended_at < before, table.c.state == "ended"
    )
    if after is not None:
        query = query.where(tuple_(table.c.ended_at, table.c.id) > after)
    query = query.order_by(table.c.ended_at, table.c.id).limit(limit)
    return list((await tx.execute(query)).mappings())


async def forgotten(tx: AsyncConnection, row: Any) -> None:
    """The engine has forgotten it, unless it was reopened since."""
    ended = and_(table.c.id == row["id"], table.c.ended_at == row["ended_at"])
    await tx.execute(update(table).where(ended).values(purged=True))


async def renamed(tx: AsyncConnection, after: str, limit: int) -> list[RowMapping]:
    """Instances that have left burnt names behind, in order of their ids."""
    query = (
        select(table)
        .where(table.c.engine_id != table.c.id, table.c.id > after, table.c.purged.is_(False))
        .order_by(table.c.id)
        .limit(limit)
    )
    return list((await tx.execute(query)).mappings())
