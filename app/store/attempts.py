"""Dispatches of effects, counted durably: the only trace of a step that kills its process.

No retry policy of an engine counts a dispatch that never came back. Here each one is a row,
written before the effect and closed after it; rows that stay open tell a poison step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import records
from app.store.schema import attempts


@dataclass(frozen=True)
class Past:
    """What is known of a key: when it was first tried, and how many dispatches never ended."""

    first_at: Any
    unfinished: int
    unfinished_alone: int


async def past(tx: AsyncConnection, key: str) -> Past:
    """Counts the dispatches that never ended since the last one that did, or was forgiven."""
    ended = (
        select(func.coalesce(func.max(attempts.c.id), 0))
        .where(attempts.c.key == key)
        .where(attempts.c.ended_at.is_not(None) | attempts.c.forgiven)
        .scalar_subquery()
    )
    since = attempts.c.id > ended
    query = select(
        func.min(attempts.c.begun_at).label("first_at"),
        func.count().filter(since).label("unfinished"),
        func.count().filter(since & attempts.c.alone).label("unfinished_alone"),
    ).where(attempts.c.key == key)
    row = (await tx.execute(query)).mappings().one()
    return Past(**row)


async def begin(
    tx: AsyncConnection,
    *,
    instance: str,
    key: str,
    operation: str,
    undoes: str | None,
    alone: bool,
) -> int:
    """Notes that a dispatch begins; returns its number."""
    at = records.now()
    statement = (
        insert(attempts)
        .values(
            instance=instance,
            key=key,
            operation=operation,
            undoes=undoes,
            alone=alone,
            begun_at=at,
        )
        .returning(attempts.c.id)
    )
    number: int = (await tx.execute(statement)).scalar_one()
    return number


async def finish(
    tx: AsyncConnection, number: int, *, result: str, error: str | None = None
) -> None:
    """Notes that a dispatch ended, one way or the other."""
    await tx.execute(
        update(attempts)
        .where(attempts.c.id == number)
        .values(ended_at=records.now(), result=result, error=error)
    )


async def forgive(tx: AsyncConnection, key: str) -> None:
    """A person's retry starts from zero."""
    await tx.execute(update(attempts).where(attempts.c.key == key).values(forgiven=True))


async def of_instance(tx: AsyncConnection, instance: str) -> list[RowMapping]:
    """Every dispatch for an instance, oldest first."""
    query = select(attempts).where(attempts.c.instance == instance).order_by(attempts.c.id)
    return list((await tx.execute(query)).mappings())


async def standing(tx: AsyncConnection, instance: str) -> list[str]:
    """Keys of effects that stand, or may stand: tried, not refused, and not undone."""
    rows = await of_instance(tx, instance)
    undone = {row["undoes"] for row in rows if row["result"] in ("applied", "closed")}
    tried = {
        row["key"]: row["result"]
        for row in rows
        if row["undoes"] is None and row["key"] not in undone
    }
    return [key for key, result in tried.items() if result not in ("refused", "rejected", "undone")]


async def condense(tx: AsyncConnection, key: str) -> None:
    """Forgets the dispatches of a key that came back, but the first and the last.

    The first tells how old the key is, the last how it stands; what is tried for days by ourselves
    would otherwise grow without end.
    """
    first = select(func.min(attempts.c.id)).where(attempts.c.key == key).scalar_subquery()
    last = select(func.max(attempts.c.id)).where(attempts.c.key == key).scalar_subquery()
    await tx.execute(
        delete(attempts)
        .where(attempts.c.key == key, attempts.c.ended_at.is_not(None))
        .where(attempts.c.id != first, attempts.c.id != last)
    )


async def forget(tx: AsyncConnection, key: str) -> None:
    """Forgets a key that nobody will use again."""
    await tx.execute(delete(attempts).where(attempts.c.key == key))
