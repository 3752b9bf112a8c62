"""Leases: work that only one replica should do is done by whoever holds its lease."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import insert_once, records
from store.schema import leases

_NAMED = leases.c.name == bindparam("its_name")
_ACQUIRE = update(leases).where(
    _NAMED, or_(leases.c.holder == bindparam("mine"), leases.c.until < bindparam("at"))
)
_ANOTHER_S = select(leases.c.name).where(
    _NAMED, leases.c.holder != bindparam("mine"), leases.c.until >= bindparam("at")
)


async def acquire(tx: AsyncConnection, name: str, holder: str, seconds: float) -> bool:
    """Takes or prolongs a lease for so many seconds; `False` while somebody else has it."""
    at = records.now()
    until = at + timedelta(seconds=seconds)
    asked = {"its_name": name, "mine": holder, "at": at}
    taken = await tx.execute(_ACQUIRE, {**asked, "holder": holder, "until": until})
    if taken.rowcount == 1:
        return True
    return await insert_once(tx, leases, {"name": name, "holder": holder, "until": until})


async def is_another_s(tx: AsyncConnection, name: str, holder: str) -> bool:
    """Whether somebody else has it still. Takes no lock: those who wait ask for nothing more."""
    asked = {"its_name": name, "mine": holder, "at": records.now()}
    return (await tx.execute(_ANOTHER_S, asked)).first() is not None
