"""Dispatches of effects, counted durably: the only trace of a step that kills its process.

No retry policy of an engine counts a dispatch that never came back. Here each one is a row,
written before the effect and closed after it. A row that is open tells of a death only if the
life of its process is over: the living may still be at it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import RowMapping, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import records
from store.schema import attempts, processes

# Seconds without a sign after which the life of a process is over; longer than any step may last.
LIFE = 40.0

# Answers that stand for good under their key. What was only rejected may be asked again.
FINAL = frozenset({"applied", "refused", "closed", "undone", "too_late"})


@dataclass(frozen=True)
class Past:
    """What is known of a key.

    When it was first tried, how many dispatches in a row died with their process, how many in a
    row came back with a fault, what was answered for good, and whether another key followed it.
    """

    first_at: datetime | None = None
    unfinished: int = 0
    unfinished_alone: int = 0
    faults: int = 0
    result: str | None = None
    reason: str | None = None
    overtaken: bool = False


_OVER = processes.c.ended_at.is_not(None) | (
    func.coalesce(processes.c.seen_at, attempts.c.begun_at) < bindparam("dead_since")
)
_PAST = (
    select(attempts, _OVER.label("over"))
    .join(processes, processes.c.id == attempts.c.process, isouter=True)
    .where(attempts.c.key.in_(bindparam("keys", expanding=True)))
    .order_by(attempts.c.id)
)


async def past(tx: AsyncConnection, key: str, next_key: str | None = None) -> Past:
    """What the rows of a key tell."""
    dead_since = records.now() - timedelta(seconds=LIFE)
    asked = {"dead_since": dead_since, "keys": [key, next_key] if next_key else [key]}
    rows = list((await tx.execute(_PAST, asked)).mappings())
    ours = [row for row in rows if row["key"] == key]
    if not ours:
        return Past(overtaken=bool(rows))
    answered = next((row for row in reversed(ours) if row["result"] in FINAL), None)
    since = _since(ours, lambda row: row["ended_at"] is not None or row["forgiven"])
    dead = [row for row in since if row["over"]]
    return Past(
        first_at=ours[0]["begun_at"],
        unfinished=len(dead),
        unfinished_alone=sum(row["alone"] for row in dead),
        faults=len(_since(ours, lambda row: row["result"] not in (None, "fault"))),
        result=answered["result"] if answered else None,
        reason=answered["error"] if answered else None,
        overtaken=len(rows) > len(ours),
    )


def _since(rows: list[RowMapping], is_last: Callable[[RowMapping], bool]) -> list[RowMapping]:
    """The rows behind the last one of which something is true."""
    last = max((number for number, row in enumerate(rows, 1) if is_last(row)), default=0)
    return rows[last:]


_BEGIN = insert(attempts).returning(attempts.c.id)


async def begin(
    tx: AsyncConnection,
    *,
    instance: str,
    key: str,
    operation: str,
    undoes: str | None,
    alone: bool,
    process: str | None = None,
) -> int:
    """Notes that a dispatch begins; returns its number."""
    row = {
        "instance": instance,
        "key": key,
        "operation": operation,
        "undoes": undoes,
        "alone": alone,
        "process": process,
        "begun_at": records.now(),
    }
    number: int = (await tx.execute(_BEGIN, row)).scalar_one()
    return number


_FINISH = update(attempts).where(attempts.c.id == bindparam("its_id"))


async def finish(
    tx: AsyncConnection, number: int, *, result: str, error: str | None = None
) -> None:
    """Notes that a dispatch ended, one way or the other."""
    ended = {"ended_at": records.now(), "result": result, "error": error}
    await tx.execute(_FINISH, {"its_id": number, **ended})


async def not_alone(tx: AsyncConnection, number: int) -> None:
    """Notes that others passed while a suspect was still at it: if it dies now, it proves less."""
    await tx.execute(update(attempts).where(attempts.c.id == number).values(alone=False))


async def settle(
    tx: AsyncConnection,
    *,
    instance: str,
    key: str,
    operation: str,
    result: str,
    error: str | None,
    process: str | None,
) -> None:
    """Notes once what became of an effect that was pending."""
    if (await past(tx, key)).result is None:
        number = await begin(
            tx,
            instance=instance,
            key=key,
            operation=operation,
            undoes=None,
            alone=False,
            process=process,
        )
        await finish(tx, number, result=result, error=error)


async def forgive(tx: AsyncConnection, key: str) -> None:
    """A person's retry starts from zero."""
    await tx.execute(update(attempts).where(attempts.c.key == key).values(forgiven=True))


@dataclass(frozen=True)
class Tried:
    """What earlier runs of an instance tried: steps, done undos, and the highest ordinals."""

    steps: list[str]
    undone: list[str]
    ordinals: dict[str, int]


_TRIED = select(attempts.c.key, attempts.c.undoes, attempts.c.result).where(
    attempts.c.instance == bindparam("instance")
)


async def tried(tx: AsyncConnection, instance: str) -> Tried:
    """The steps that were tried so far, the undos that were done, and their ordinals."""
    steps, undone = set(), set()
    ordinals: dict[str, int] = {}
    for key, undoes, result in await tx.execute(_TRIED, {"instance": instance}):
        name = key.partition("/")[2].partition("/")[0]
        if undoes is None:
            steps.add(name)
        elif result in ("applied", "closed", "pending"):
            undone.add(name)
        if repeated := re.fullmatch(r"[^/]+/(.+)/(\d{1,6})", key):
            ordinals[repeated[1]] = max(ordinals.get(repeated[1], 1), int(repeated[2]))
    return Tried(sorted(steps), sorted(undone), ordinals)


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
