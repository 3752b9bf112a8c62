"""Control events of a monitor: kept in the inbox, drained in order, each applied once.

Rows of the inbox are what recognises a repeated event id; of those that were applied only the
newest are kept, so that a monitor that is told something every day stays small for ever.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import inbox
from store.schema import inbox as table
from workflows.health_monitor import Control

NAME = "control"
REMEMBERED = 500  # applied events whose ids are still recognised


async def keep(tx: AsyncConnection, instance: str, control: Control) -> str:
    """Keeps a control event once, and returns its id: its own, or a new one.

    Raises:
        Conflict: the event id was used for another event.
    """
    event_id = control.event_id or str(uuid.uuid4())
    data = control.model_dump(mode="json", exclude_none=True, exclude={"event_id"})
    type_ = f"{NAME}.{control.action}"
    await inbox.keep(tx, instance=instance, event_id=event_id, name=NAME, type=type_, data=data)
    return event_id


async def drain(tx: AsyncConnection, instance: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Applies every kept event in order, and returns what a monitor's state becomes.

    Whoever applies them holds the record's lock and keeps the state in the same transaction.
    """
    query = (
        select(table)
        .where(table.c.instance == instance, table.c.name == NAME, table.c.consumed_at.is_(None))
        .order_by(table.c.received_at, table.c.event_id)
    )
    rows = list((await tx.execute(query)).mappings())
    changed = {name: state[name] for name in ("controls", "paused", "stopped", "settings")}
    for row in rows:
        changed["controls"] += 1
        _apply(changed, row["data"])
        by = f"{NAME}/{changed['controls']}"
        await inbox.consumed(tx, instance, NAME, row["event_id"], by=by)
    if rows:
        await _forget(tx, instance)
    return changed


def _apply(state: dict[str, Any], control: dict[str, Any]) -> None:
    # It was judged when it was kept: by other rules perhaps, if a version before kept it.
    if state["stopped"]:
        return  # nothing starts it again
    match control["action"]:
        case "stop":
            state["stopped"] = True
        case "pause":
            state["paused"] = True
        case "resume":
            state["paused"] = False
        case "update":
            state["settings"] = {**state["settings"], **control["settings"]}


async def _forget(tx: AsyncConnection, instance: str) -> None:
    applied = (
        (table.c.instance == instance) & (table.c.name == NAME) & table.c.consumed_at.is_not(None)
    )
    newest = (
        select(table.c.event_id)
        .where(applied)
        .order_by(table.c.received_at.desc(), table.c.event_id.desc())
        .limit(REMEMBERED)
    )
    await tx.execute(delete(table).where(applied, table.c.event_id.not_in(newest)))
