"""Interventions: what only a person can settle. One row each, and somebody is told until it is.

Whoever changes one together with its instance's record locks the record first: two who do it the
other way round wait for each other for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import RowMapping, bindparam, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import attempts, insert_once, records
from store.pauses import claim, pause
from store.schema import interventions
from store.schema import records as record_table
from workflows.messages import Incident, IncidentKind, Resolution

# The incidents of a step on the way forward; turning down makes them moot.
FORWARD = ("step_failed", "poison")

LONGEST_PAUSE = 300.0  # seconds between two wake-up signals of an answer


async def open_(tx: AsyncConnection, incident: Incident) -> None:
    """Opens an intervention once; every later run finds it, and its answer."""
    at = records.now()
    row = {
        "id": incident.id,
        "instance": incident.instance,
        "key": incident.key,
        "kind": incident.kind,
        "reason": incident.reason,
        "blocking": incident.blocking,
        "opened_at": at,
        "alert_at": at,
    }
    await insert_once(tx, interventions, row)


async def read_resolution(tx: AsyncConnection, incident: Incident) -> Resolution:
    """The answer, if there is one; without one the instance is parked."""
    await records.get(tx, incident.instance, lock=True)
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
    """Answers once; `False` when somebody else was first. Nobody is told of it any more."""
    row = await get(tx, id)
    if row is None:
        return False
    await records.get(tx, row["instance"], lock=True)
    at = records.now()
    answered = {"action": action, "note": note, "answered_by": by, "answered_at": at}
    # Only whom it blocks waits to hear of the answer.
    again = case((interventions.c.blocking, at), else_=None)
    won = await tx.execute(
        update(interventions)
        .where(interventions.c.id == id, interventions.c.action.is_(None))
        .values(**answered, next_raise_at=again, alert_at=None)
    )
    if won.rowcount != 1:
        return False
    if action == "retry":
        await attempts.forgive(tx, row["key"])
    await tx.execute(
        update(record_table)
        .where(record_table.c.waiting_for == id, records.OPEN)
        .where(record_table.c.id == row["instance"])
        .values(expected_at=at)
    )
    return True


_IS_OPEN = (
    select(interventions.c.id)
    .where(interventions.c.key == bindparam("its_key"), interventions.c.action.is_(None))
    .limit(1)
)


async def is_open(tx: AsyncConnection, key: str) -> bool:
    """Whether somebody is being asked under a key."""
    return (await tx.execute(_IS_OPEN, {"its_key": key})).first() is not None


async def last_retried(tx: AsyncConnection, key: str) -> datetime | None:
    """When a person last answered `retry` to what was asked under a key."""
    query = (
        select(interventions.c.answered_at)
        .where(interventions.c.key == key, interventions.c.action == "retry")
        .order_by(interventions.c.answered_at.desc())
        .limit(1)
    )
    at: datetime | None = (await tx.execute(query)).scalar_one_or_none()
    return at


async def heal(tx: AsyncConnection, key: str) -> None:
    """Closes what was asked under a key: it is over, and nobody need answer any more."""
    at = records.now()
    await tx.execute(
        update(interventions)
        .where(interventions.c.key == key, interventions.c.action.is_(None))
        .values(action="healed", answered_by="reconciler", answered_at=at, alert_at=None)
    )


async def close_forward(tx: AsyncConnection, instance: str) -> None:
    """Closes what an instance that turned down no longer asks."""
    await tx.execute(
        update(interventions)
        .where(interventions.c.instance == instance, interventions.c.action.is_(None))
        .where(interventions.c.kind.in_(FORWARD))
        .values(action="overtaken", answered_at=records.now(), alert_at=None)
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


async def latest(tx: AsyncConnection, key: str) -> RowMapping | None:
    """The newest intervention of a key, locked: nobody answers it before this is over."""
    query = (
        select(interventions)
        .where(interventions.c.key == key)
        .order_by(interventions.c.opened_at.desc())
        .limit(1)
    )
    return (await tx.execute(query.with_for_update())).mappings().one_or_none()


async def reword(tx: AsyncConnection, id: str, reason: str) -> None:
    """Changes what an open intervention says: the matter has grown, and is the same."""
    await tx.execute(update(interventions).where(interventions.c.id == id).values(reason=reason))


_SETTLED = (
    select(interventions.c.id)
    .where(interventions.c.key == bindparam("its_key"), interventions.c.action == "settled")
    .limit(1)
)


async def settled_by_hand(tx: AsyncConnection, key: str) -> bool:
    """Whether a person has declared the matter of this key settled: nobody does it again."""
    return (await tx.execute(_SETTLED, {"its_key": key})).first() is not None


_UNRAISED = (
    select(interventions.c.id, interventions.c.raises, record_table.c.engine_id)
    .add_columns(record_table.c.state)
    .join(record_table, record_table.c.id == interventions.c.instance, isouter=True)
    .where(interventions.c.next_raise_at <= bindparam("at"))
    .order_by(interventions.c.next_raise_at)
    .limit(bindparam("most"))
)


async def claim_unraised(tx: AsyncConnection, limit: int) -> list[RowMapping]:
    """Takes answered interventions whose workflow has not read the answer yet.

    Each is due again after a growing pause; one whose instance has ended is due no more.
    """
    at = records.now()
    rows = list((await tx.execute(_UNRAISED, {"at": at, "most": limit})).mappings())
    for row in rows:
        due = at + pause(row["raises"] + 1, LONGEST_PAUSE)
        gone = row["state"] in (None, "ended")
        await tx.execute(
            update(interventions)
            .where(interventions.c.id == row["id"])
            .values(raises=row["raises"] + 1, next_raise_at=None if gone else due)
        )
    return [row for row in rows if row["state"] == "scheduled"]


async def adopt(tx: AsyncConnection, since: datetime | None, limit: int) -> list[RowMapping]:
    """Lets somebody be told of what is open and was to be told to nobody.

    A replica of the version before opens them so. Looks at up to `limit` that are open, oldest
    first, that were opened since then, and returns them.
    """
    query = select(interventions.c.id, interventions.c.opened_at, interventions.c.alert_at)
    query = query.where(interventions.c.action.is_(None))
    if since is not None:
        query = query.where(interventions.c.opened_at >= since)
    # The order of the index.
    query = query.order_by(interventions.c.action, interventions.c.opened_at).limit(limit)
    rows = list((await tx.execute(query)).mappings())
    for row in rows:
        if row["alert_at"] is None:
            await tell_again(tx, row["id"], records.now())
    return rows


async def claim_untold(tx: AsyncConnection, limit: int) -> list[RowMapping]:
    """Takes interventions of which somebody is to be told now, so that one replica does."""
    at = records.now()
    query = (
        select(interventions)
        .where(interventions.c.alert_at <= at, interventions.c.action.is_(None))
        .order_by(interventions.c.alert_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = list((await tx.execute(query)).mappings())
    for row in rows:
        await hold_untold(tx, row)
    return rows


async def hold_untold(tx: AsyncConnection, row: RowMapping) -> None:
    """Prolongs the claim on an intervention of which somebody is being told."""
    tries = row["alert_tries"] + 1
    await tx.execute(
        update(interventions)
        .where(interventions.c.id == row["id"], interventions.c.alert_at.is_not(None))
        .values(alert_tries=tries, alert_at=records.now() + claim(tries))
    )


async def told(tx: AsyncConnection, id: str, **values: Any) -> None:
    """Notes what somebody has been told."""
    await tx.execute(update(interventions).where(interventions.c.id == id).values(**values))


async def tell_again(tx: AsyncConnection, id: str, at: datetime) -> None:
    """Somebody is to be told at that time, unless it is answered by then."""
    await tx.execute(
        update(interventions)
        .where(interventions.c.id == id, interventions.c.action.is_(None))
        .values(alert_at=at, alert_tries=0)
    )


def following(ids: Iterable[str]) -> int:
    """The number of the next intervention of a key; the first ones may be forgotten by now."""
    return 1 + max((int(id.rpartition("/")[2]) for id in ids), default=0)


async def ask_once(
    tx: AsyncConnection, instance: str, key: str, kind: IncidentKind, reason: str
) -> bool:
    """Opens an intervention that blocks nobody, unless one for the same key is open.

    Says whether it did.
    """
    query = (
        select(interventions.c.id, interventions.c.action)
        .where(interventions.c.key == key, interventions.c.instance == instance)
        .order_by(interventions.c.opened_at)
    )
    asked = list((await tx.execute(query)).mappings())
    if asked and asked[-1]["action"] is None:
        return False
    incident = Incident(
        instance=instance,
        key=key,
        n=following(row["id"] for row in asked),
        kind=kind,
        reason=reason[:500],
        blocking=False,
    )
    await open_(tx, incident)
    return True
