"""What is forgotten in the end: each function deletes one batch, and says how many rows that was.

Nothing that is open goes, and nothing that a key still needs: attempts, events and answers go with
their record and never before it, because only they tell a later run, or a repeated event, what was
done. What hangs on no record, or on an eternal one, goes by its age.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import (
    attempts,
    audit_trail,
    findings,
    inbox,
    incidents,
    interventions,
    leases,
    monitors,
    processes,
    records,
    waits,
)

Forget = Callable[[AsyncConnection, datetime, int], Awaitable[int]]

# In this order: what refers to a record goes before it.
HANGING = (
    attempts.c.instance,
    inbox.c.instance,
    waits.c.instance,
    interventions.c.instance,
    incidents.c.monitor,
    monitors.c.id,
)
OVER = ("settled", "refunded")  # findings that nobody looks at again


async def ended(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """Records that ended before then and that the engine has forgotten, with all that is theirs."""
    query = (
        select(records.c.id)
        .where(records.c.purged.is_(True), records.c.ended_at < before, *_settled())
        .order_by(records.c.ended_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list((await tx.execute(query)).scalars())
    for column in HANGING if ids else ():
        await tx.execute(delete(column.table).where(column.in_(ids)))
    return await _delete(tx, records, records.c.id, ids)


def _settled() -> tuple[ColumnElement[bool], ...]:
    """That neither a person nor the courier nor the audit has anything left to do about it."""
    return (
        ~exists().where(interventions.c.instance == records.c.id, interventions.c.action.is_(None)),
        ~exists().where(inbox.c.instance == records.c.id, inbox.c.consumed_at.is_(None)),
        ~exists().where(findings.c.instance == records.c.id, findings.c.state.not_in(OVER)),
    )


async def old_attempts(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """Dispatches for eternal instances, and for none of ours."""
    query = (
        select(attempts.c.id)
        .where(attempts.c.begun_at < before, _by_age(attempts.c.instance))
        .order_by(attempts.c.begun_at)
    )
    return await _delete(tx, attempts, attempts.c.id, await _some(tx, query, limit))


async def old_interventions(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """Answered interventions of eternal instances, and of none of ours."""
    query = (
        select(interventions.c.id)
        .where(interventions.c.answered_at < before, _by_age(interventions.c.instance))
        .order_by(interventions.c.answered_at)
    )
    return await _delete(tx, interventions, interventions.c.id, await _some(tx, query, limit))


async def old_incidents(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """Incidents that are over and told, but the one with which a service began to flap."""
    flapping = exists().where(
        monitors.c.id == incidents.c.monitor, monitors.c.flapping == incidents.c.n
    )
    query = (
        select(incidents.c.monitor, incidents.c.n)
        .where(incidents.c.done.is_(True), incidents.c.closed_at < before, ~flapping)
        .order_by(incidents.c.closed_at)
        .limit(limit)
    )
    keys = [tuple(row) for row in await tx.execute(query)]
    return await _delete(tx, incidents, tuple_(incidents.c.monitor, incidents.c.n), keys)


async def old_findings(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """What the audit found, once it has been settled."""
    query = select(findings.c.key).where(findings.c.state.in_(OVER), findings.c.settled_at < before)
    return await _delete(tx, findings, findings.c.key, await _some(tx, query, limit))


async def old_trail(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """Who did what."""
    query = select(audit_trail.c.id).where(audit_trail.c.at < before).order_by(audit_trail.c.at)
    return await _delete(tx, audit_trail, audit_trail.c.id, await _some(tx, query, limit))


async def old_processes(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """Lives of processes that nobody has seen since."""
    query = select(processes.c.id).where(processes.c.seen_at < before)
    return await _delete(tx, processes, processes.c.id, await _some(tx, query, limit))


async def old_leases(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """Leases that nobody has wanted since."""
    query = select(leases.c.name).where(leases.c.until < before)
    return await _delete(tx, leases, leases.c.name, await _some(tx, query, limit))


def _by_age(instance: Any) -> ColumnElement[bool]:
    """Whether rows of an instance go by their own age: it has no record, or is eternal."""
    return or_(~exists().where(records.c.id == instance), exists().where(monitors.c.id == instance))


async def _some(tx: AsyncConnection, query: Any, limit: int) -> list[Any]:
    return list((await tx.execute(query.limit(limit))).scalars())


async def _delete(tx: AsyncConnection, table: Table, key: Any, keys: Sequence[Any]) -> int:
    if keys:
        await tx.execute(delete(table).where(key.in_(keys)))
    return len(keys)
