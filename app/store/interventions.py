"""Interventions: what only a person can settle. One row and one alert each, never silence."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import attempts, insert_once, records
from app.store.schema import interventions
from app.store.schema import records as record_table
from workflows.messages import Incident, IncidentKind, Resolution

# The incidents of a step on the way forward; turning down makes them moot.
FORWARD = ("step_failed", "poison")


async def open_(tx: AsyncConnection, incident: Incident) -> None:
    """Opens an intervention once; every later run finds it, and its answer."""
    row = {
        "id": incident.id,
        "instance": incident.instance,
        "key": incident.key,
        "kind": incident.kind,
        "reason": incident.reason,
        "blocking": incident.blocking,
        "opened_at": records.now(),
    }
    await insert_once(tx, interventions, row)


async def read_resolution(tx: AsyncConnection, incident: Incident) -> Resolution:
    """The answer, if there is one; without one the instance is parked."""
    row = await get(tx, incident.id)
    if row is not None and row["action"] in ("retry", "settled"):
        await tx.execute(
            update(interventions)
            .where(interventions.c.id == incident.id)
            .values(next_raise_at=None)
        )
        await records.progress(tx, incident.instance, status="RUNNING")
        return Resolution(action=row["action"])
    await records.progress(
        tx, incident.instance, status="PARKED", waiting_for=incident.id, expected_at=None
    )
    return Resolution()


async def get(tx: AsyncConnection, id: str) -> RowMapping | None:
    """One intervention."""
    query = select(interventions).where(interventions.c.id == id)
    return (await tx.execute(query)).mappings().one_or_none()


async def answer(
    tx: AsyncConnection, id: str, *, action: Literal["retry", "settled"], note: str, by: str
) -> bool:
    """Answers once; `False` when somebody else was first."""
    at = records.now()
    won = await tx.execute(
        update(interventions)
        .where(interventions.c.id == id, interventions.c.action.is_(None))
        .values(action=action, note=note, answered_by=by, answered_at=at, next_raise_at=at)
    )
    if won.rowcount != 1:
        return False
    row = await get(tx, id)
    if row is not None and action == "retry":
        await attempts.forgive(tx, row["key"])
    return True


async def close_forward(tx: AsyncConnection, instance: str) -> None:
    """Closes what an instance that turned down no longer asks."""
    await tx.execute(
        update(interventions)
        .where(interventions.c.instance == instance, interventions.c.action.is_(None))
        .where(interventions.c.kind.in_(FORWARD))
        .values(action="overtaken", answered_at=records.now())
    )


async def page(
    tx: AsyncConnection, *, open_only: bool, after: str | None, limit: int
) -> list[RowMapping]:
    """Interventions in order of their ids, from behind `after`."""
    query = select(interventions).order_by(interventions.c.id).limit(limit)
    if open_only:
        query = query.where(interventions.c.action.is_(None))
    if after:
        query = query.where(interventions.c.id > after)
    return list((await tx.execute(query)).mappings())


async def of_instance(tx: AsyncConnection, instance: str) -> list[RowMapping]:
    """Every intervention of an instance, oldest first."""
    query = (
        select(interventions)
        .where(interventions.c.instance == instance)
        .order_by(interventions.c.opened_at)
    )
    return list((await tx.execute(query)).mappings())


async def settled_by_hand(tx: AsyncConnection, key: str) -> bool:
    """Whether a person has declared the matter of this key settled: nobody does it again."""
    query = select(interventions.c.id).where(
        interventions.c.key == key, interventions.c.action == "settled"
    )
    return (await tx.execute(query.limit(1))).first() is not None


async def claim_unraised(tx: AsyncConnection, limit: int) -> list[RowMapping]:
    """Takes answered interventions whose workflow has not read the answer yet."""
    at = records.now()
    query = (
        select(interventions.c.id, interventions.c.raises, record_table.c.engine_id)
        .join(record_table, record_table.c.id == interventions.c.instance)
        .where(interventions.c.next_raise_at <= at, record_table.c.state == "scheduled")
        .limit(limit)
    )
    rows = list((await tx.execute(query)).mappings())
    for row in rows:
        pause = timedelta(seconds=min(60.0, 2.0 ** (row["raises"] + 1)))
        await tx.execute(
            update(interventions)
            .where(interventions.c.id == row["id"])
            .values(raises=row["raises"] + 1, next_raise_at=at + pause)
        )
    return rows


async def unalerted(tx: AsyncConnection, limit: int) -> list[RowMapping]:
    """Interventions that nobody was told of yet."""
    query = (
        select(interventions)
        .where(interventions.c.alerted_at.is_(None), interventions.c.action.is_(None))
        .order_by(interventions.c.opened_at)
        .limit(limit)
    )
    return list((await tx.execute(query)).mappings())


async def alerted(tx: AsyncConnection, id: str) -> None:
    """Somebody has been told."""
    await tx.execute(
        update(interventions).where(interventions.c.id == id).values(alerted_at=records.now())
    )


async def ask_once(
    tx: AsyncConnection, instance: str, key: str, kind: IncidentKind, reason: str
) -> None:
    """Opens an intervention that blocks nobody, unless one for the same key is open."""
    asked = [one for one in await of_instance(tx, instance) if one["key"] == key]
    if asked and asked[-1]["action"] is None:
        return
    incident = Incident(
        instance=instance,
        key=key,
        n=len(asked) + 1,
        kind=kind,
        reason=reason[:500],
        blocking=False,
    )
    await open_(tx, incident)
