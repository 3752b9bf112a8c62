"""How far something that goes through a long list has come."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import insert_once
from app.store.schema import cursors


async def get(tx: AsyncConnection, name: str, *, lock: bool = False) -> RowMapping | None:
    """A cursor; with `lock`, whoever else moves it waits."""
    query = select(cursors).where(cursors.c.name == name)
    if lock:
        query = query.with_for_update()
    return (await tx.execute(query)).mappings().one_or_none()


async def advance(tx: AsyncConnection, name: str, at: datetime, after: str) -> None:
    """Moves a cursor; never back, whatever a replica that was paused believes."""
    if await insert_once(tx, cursors, {"name": name, "at": at, "after": after}):
        return
    await tx.execute(
        update(cursors).where(cursors.c.name == name, cursors.c.at <= at).values(at=at, after=after)
    )
