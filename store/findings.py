"""Charges that are not accounted for (yet): one row each, deleted once somebody can account for it.

`waiting`: looked at again. `found`, then `asked`: a person's, who has not been told yet, or has.
`settled`: by a person. `owed`, then `refunding`, then `refunded`: given back by the audit itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import findings, interventions, records


async def known(tx: AsyncConnection, keys: Collection[str]) -> set[str]:
    """Those of the keys that have a row."""
    query = select(findings.c.key).where(findings.c.key.in_(keys))
    return set((await tx.execute(query)).scalars())


async def add(tx: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts those whose key is new."""
    if not rows:
        return
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    await tx.execute(dialect.insert(findings).values(list(rows)).on_conflict_do_nothing())


async def get(tx: AsyncConnection, key: str, *, lock: bool = False) -> RowMapping | None:
    """One finding; with `lock`, whoever else wants to change it waits."""
    query = select(findings).where(findings.c.key == key)
    if lock:
        query = query.with_for_update()
    return (await tx.execute(query)).mappings().one_or_none()


_PENDING = (
    select(findings.c.state)
    .where(
        or_(
            findings.c.state.in_(("found", "asked")),
            and_(
                findings.c.state.in_(("waiting", "owed", "refunding")),
                findings.c.look_at <= bindparam("at"),
            ),
        )
    )
    .distinct()
)


async def pending(tx: AsyncConnection, at: datetime) -> set[str]:
    """The states of what is to be looked at by then, and of what a person is or has to be asked."""
    return set((await tx.execute(_PENDING, {"at": at})).scalars())


_DUE = (
    select(findings)
    .where(findings.c.state.in_(bindparam("states", expanding=True)))
    .where(findings.c.look_at <= bindparam("at"))
    .order_by(findings.c.look_at)
    .limit(bindparam("most"))
)


async def due(
    tx: AsyncConnection, states: Collection[str], at: datetime, limit: int
) -> list[RowMapping]:
    """What is to be looked at again by then, the most overdue first."""
    asked = {"states": list(states), "at": at, "most": limit}
    return list((await tx.execute(_DUE, asked)).mappings())


async def change(tx: AsyncConnection, key: str, **values: Any) -> None:
    """Changes one row."""
    await tx.execute(update(findings).where(findings.c.key == key).values(**values))


_POSTPONE = (
    update(findings)
    .where(findings.c.key == bindparam("its_key"))
    .values(look_at=bindparam("its_moment"))
)


async def postpone(tx: AsyncConnection, moments: Sequence[tuple[str, datetime]]) -> None:
    """Says when each of these keys is to be looked at again."""
    if not moments:
        return
    await tx.execute(_POSTPONE, [{"its_key": key, "its_moment": at} for key, at in moments])


async def drop(tx: AsyncConnection, keys: Collection[str]) -> None:
    """Deletes what is accounted for."""
    if keys:
        await tx.execute(delete(findings).where(findings.c.key.in_(keys)))


async def move(
    tx: AsyncConnection, before: str, until: datetime | None = None, **values: Any
) -> int:
    """Changes every row of a state, perhaps only what was found by then; returns how many."""
    change = update(findings).where(findings.c.state == before)
    if until is not None:
        change = change.where(findings.c.found_at <= until)
    return (await tx.execute(change.values(**values))).rowcount


async def count(tx: AsyncConnection, state: str, since: datetime | None = None) -> int:
    """How many rows are in a state, perhaps settled since then."""
    query = select(func.count()).select_from(findings).where(findings.c.state == state)
    if since is not None:
        query = query.where(findings.c.settled_at > since)
    return int((await tx.execute(query)).scalar_one())


async def page(
    tx: AsyncConnection, *, state: str | None, after: str | None, limit: int
) -> list[RowMapping]:
    """Findings in order of their keys, from behind `after`."""
    query = select(findings).order_by(findings.c.key).limit(limit)
    if state is not None:
        query = query.where(findings.c.state == state)
    if after:
        query = query.where(findings.c.key > after)
    return list((await tx.execute(query)).mappings())


_ACCOUNTS = select(
    records.c.id,
    records.c.kind,
    records.c.version,
    records.c.state,
    records.c.outcome,
    records.c.ended_at,
).where(records.c.id.in_(bindparam("ids", expanding=True)))


async def accounts(tx: AsyncConnection, ids: Collection[str]) -> dict[str, RowMapping]:
    """Of each instance that has a record, as much of it as a verdict needs."""
    rows = (await tx.execute(_ACCOUNTS, {"ids": list(ids)})).mappings()
    return {row["id"]: row for row in rows}


_SETTLED = select(interventions.c.instance, interventions.c.key).where(
    interventions.c.instance.in_(bindparam("ids", expanding=True)),
    interventions.c.action == "settled",
)


async def settled_by_hand(tx: AsyncConnection, ids: Collection[str]) -> dict[str, list[str]]:
    """The keys that a person has declared settled, of each instance that has any."""
    found: dict[str, list[str]] = {}
    for row in (await tx.execute(_SETTLED, {"ids": list(ids)})).mappings():
        found.setdefault(row["instance"], []).append(row["key"])
    return found
