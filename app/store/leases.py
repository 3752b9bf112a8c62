"""Leases: work that only one replica should do is done by whoever holds its lease."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import insert_once, records
from app.store.schema import leases


async def acquire(tx: AsyncConnection, name: str, holder: str, seconds: float) -> bool:
    """Takes or prolongs a lease for so many seconds; `False` while somebody else has it."""
    at = records.now()
    until = at + timedelta(seconds=seconds)
    if await insert_once(tx, leases, {"name": name, "holder": holder, "until": until}):
        return True
    mine = or_(leases.c.holder == holder, leases.c.until < at)
    taken = await tx.execute(
        update(leases).where(leases.c.name == name, mine).values(holder=holder, until=until)
    )
    return taken.rowcount == 1
