"""Every decision and every attempt at one, the refused ones too; rows are only ever added."""

from __future__ import annotations

from sqlalchemy import RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import records
from app.store.schema import audit_trail


async def write(
    tx: AsyncConnection,
    *,
    instance: str,
    who: str,
    via: str,
    what: str,
    verdict: str,
    event_id: str | None,
) -> None:
    """Adds a row."""
    row = {
        "instance": instance,
        "at": records.now(),
        "who": who,
        "via": via,
        "what": what,
        "verdict": verdict,
        "event_id": event_id,
    }
    await tx.execute(insert(audit_trail).values(row))


async def of_instance(tx: AsyncConnection, instance: str) -> list[RowMapping]:
    """The trail of an instance, oldest first."""
    query = select(audit_trail).where(audit_trail.c.instance == instance).order_by(audit_trail.c.id)
    return list((await tx.execute(query)).mappings())
