"""How far something that goes through a long list has come."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import RowMapping, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import insert_once
from store.schema import cursors

_ONE = select(cursors).where(cursors.c.name == bindparam("its_name"))
_ONE_LOCKED = _ONE.with_for_update()


async def get(tx: AsyncConnection, name: str, *, lock: bool = False) -> RowMapping | None:
    """A cursor; with `lock`, whoever else moves it waits."""
    query = _ONE_LOCKED if lock else _ONE
    return (await tx.execute(query, {"its_name": name})).mappings().one_or_none()


async def advance(tx: AsyncConnection, name: str, at: datetime, after: str) -> None:
    """Moves a cursor; never back, whatever a replica that was paused believes."""
    if await insert_once(tx, cursors, {"name": name, "at": at, "after": after}):
        return
    await tx.execute(
        update(cursors).where(cursors.c.name == name, cursors.c.at <= at).values(at=at, after=after)
    )
