"""Every decision and action, and refused attempts at one; rows are only ever added.

Refusals are bounded: of each instance the first are kept, and the last of them opens an
intervention, so that whoever tries for ever fills nobody's disk and is noticed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import interventions, records
from store.schema import audit_trail

REFUSALS = 50  # of one instance that are kept
KEPT = ("accepted", "automatic")  # verdicts that are no refusals


async def write(
    tx: AsyncConnection,
    *,
    instance: str,
    who: str,
    via: str,
    what: str,
    verdict: str,
    event_id: str | None,
    note: str | None = None,
) -> None:
    """Adds a row; the note is why, in the words of whoever did it."""
    row = {
        "instance": instance,
        "at": records.now(),
        "who": who,
        "via": via,
        "what": what,
        "verdict": verdict,
        "event_id": event_id,
        "note": note,
    }
    await tx.execute(insert(audit_trail).values(row))


async def refuse(tx: AsyncConnection, *, instance: str, verdict: str, **row: Any) -> bool:
    """Adds the row of a refusal; `False` when there are too many already, and nothing was added."""
    await records.get(tx, instance, lock=True)  # those who try side by side are counted one by one
    refused = audit_trail.c.verdict.not_in(KEPT)
    query = select(func.count()).where(audit_trail.c.instance == instance, refused)
    past = (await tx.execute(query)).scalar_one()
    if past >= REFUSALS:
        return False
    await write(tx, instance=instance, verdict=verdict, **row)
    if past + 1 == REFUSALS:
        reason = f"{REFUSALS} attempts at a decision or an action were refused; more leave no trace"
        await interventions.ask_once(tx, instance, f"{instance}/decisions", "forged", reason)
    return True


async def has(tx: AsyncConnection, instance: str, event_id: str) -> bool:
    """Whether there is a row of an event."""
    query = select(audit_trail.c.id).where(
        audit_trail.c.instance == instance, audit_trail.c.event_id == event_id
    )
    return (await tx.execute(query.limit(1))).first() is not None


async def count(tx: AsyncConnection, instance: str, verdict: str) -> int:
    """How many rows of an instance have a verdict."""
    query = select(func.count()).where(
        audit_trail.c.instance == instance, audit_trail.c.verdict == verdict
    )
    return int((await tx.execute(query)).scalar_one())


async def once(tx: AsyncConnection, *, instance: str, via: str, **row: Any) -> None:
    """Adds a row unless the instance has one that came the same way."""
    query = select(audit_trail.c.id).where(
        audit_trail.c.instance == instance, audit_trail.c.via == via
    )
    if (await tx.execute(query.limit(1))).first() is None:
        await write(tx, instance=instance, via=via, **row)


async def page(tx: AsyncConnection, instance: str, after: int, limit: int) -> list[RowMapping]:
    """The trail of an instance, oldest first, from behind the row with this number."""
    query = (
        select(audit_trail)
        .where(audit_trail.c.instance == instance, audit_trail.c.id > after)
        .order_by(audit_trail.c.id)
        .limit(limit)
    )
    return list((await tx.execute(query)).mappings())
