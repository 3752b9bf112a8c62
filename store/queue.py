"""The queue before the engine: how many instances are due, and how many of them get on."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import records
from store.schema import attempts
from store.schema import records as table

WINDOW = 60.0  # seconds over which progress is counted
CROWD = 20  # instances that are due; fewer are no queue

AWAKE = and_(table.c.state == "scheduled", table.c.suspended.is_(False))


@dataclass(frozen=True)
class Load:
    """What the store shows of the engine's work."""

    queued: int  # instances of which something is to be heard by now
    moves: int  # signs of progress within `WINDOW`
    got_on: Set[str] = frozenset()  # of those that were probed, who got anywhere since


# A step that waits to be reconciled is in no queue.
_QUEUED = select(func.count()).where(
    AWAKE,
    table.c.expected_at < bindparam("at"),
    ~table.c.waiting_for.is_not_distinct_from("reconcile"),
)


async def load(tx: AsyncConnection, probed: Mapping[str, datetime]) -> Load:
    """How many instances are due by now, and how much moved within the last minute.

    What moved matters to a crowd only, and is not counted where there is none. `probed` are those
    of which it is asked whether they got on, and when they last had by then.
    """
    at = records.now()
    queued: int = (await tx.execute(_QUEUED, {"at": at})).scalar_one()
    if queued < CROWD:
        return Load(queued, moves=0)
    return Load(queued, await _moves(tx, at), await _got_on(tx, probed))


async def _moves(tx: AsyncConnection, at: datetime) -> int:
    window = timedelta(seconds=WINDOW)
    near = table.c.expected_at.between(at - window, at + window)
    moved = and_(AWAKE, near, table.c.progress_at > at - window)
    ended = await _count(tx, and_(table.c.purged.is_(False), table.c.ended_at > at - window))
    # Both are fewer than what really moved: the first counts an instance once, the other does not
    # see what has no effect.
    instances = await _count(tx, moved)
    effects = await _count(tx, attempts.c.begun_at > at - window)
    return ended + max(instances, effects)


async def _got_on(tx: AsyncConnection, probed: Mapping[str, datetime]) -> set[str]:
    # One that was handed to the relay, and of which nothing was heard since, has gone nowhere.
    query = select(table.c.id, table.c.progress_at).where(
        table.c.id.in_(probed), table.c.status != "ACCEPTED"
    )
    rows = (await tx.execute(query)).mappings() if probed else ()
    return {row["id"] for row in rows if row["progress_at"] != probed[row["id"]]}


async def _count(tx: AsyncConnection, condition: ColumnElement[bool]) -> int:
    counted: int = (await tx.execute(select(func.count()).where(condition))).scalar_one()
    return counted
