"""Leases: work that only one replica should do is done by whoever holds its lease."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import insert_once, records
from app.store.schema import leases


async def acquire(tx: AsyncConnection, name: str, holder: str, seconds: float) -> bool:
    """Takes or prolongs a lease for so many seconds; `False` while somebody else has it."""
    at = records.now()
    until = at + timedelta(seconds=seconds)
    mine = or_(leases.c.holder == holder, leases.c.until < at)
    taken = await tx.execute(
        update(leases).where(leases.c.name == name, mine).values(holder=holder, until=until)
    )
    if taken.rowcount == 1:
        return True
    return await insert_once(tx, leases, {"name": name, "holder": holder, "until": until})


async def is_another_s(tx: AsyncConnection, name: str, holder: str) -> bool:
    """Whether somebody else has it still. Takes no lock: those who wait ask for nothing more."""
    another = select(leases.c.name).where(
        leases.c.name == name, leases.c.holder != holder, leases.c.until >= records.now()
    )
    return (await tx.execute(another)).first() is not None
