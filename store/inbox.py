"""The inbox: events are kept, then raised, then consumed, each once, across every run.

An event is who sent it (`name`), to which instance, and the sender's id for it.

A wait is a conditional row. An event takes it, or its timer expires it, never both; whoever lost
learns so from the row.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import columns, insert_once, records
from store.pauses import claim, pause
from store.schema import inbox, waits
from store.schema import records as record_table
from workflows.messages import Event, Wait, WaitResult

# Names that an instance may hear at any moment, whatever it waits for.
ALWAYS_RAISED = ("cancel", "control")


LONGEST_PAUSE = 60.0  # seconds between two wake-up signals of an event

# A wait that an event has claimed already, and of which the workflow has to be told.
AWAITED = ("open", "claimed")


async def keep(
    tx: AsyncConnection, *, instance: str, event_id: str, name: str, type: str, data: dict[str, Any]
) -> bool:
    """Keeps an event once; `False` when the very same event was kept before.

    Raises:
        records.Conflict: the event id was used for another body.
    """
    body_hash = records.content_hash({"name": name, "type": type, "data": data})
    # The record's lock orders this against a wait that is being opened or closed just now.
    record = await records.get(tx, instance, lock=True)
    at, heard = records.now(), await _has_a_listener(tx, record, name)
    row = {
        "instance": instance,
        "event_id": event_id,
        "name": name,
        "type": type,
        "data": data,
        "body_hash": body_hash,
        "received_at": at,
        "next_raise_at": at if heard else None,
    }
    if await insert_once(tx, inbox, row):
        if heard:
            await _expect_to_be_heard(tx, instance, at)
        return True
    query = select(inbox.c.body_hash).where(_is(instance, name, event_id))
    if (await tx.execute(query)).scalar_one() != body_hash:
        raise records.Conflict(f"event id {event_id!r} was used for another event")
    return False


_LISTENS = (
    select(waits.c.token)
    .where(
        waits.c.instance == bindparam("instance"),
        waits.c.name == bindparam("name"),
        waits.c.state.in_(AWAITED),
    )
    .limit(1)
)


async def _has_a_listener(tx: AsyncConnection, record: RowMapping | None, name: str) -> bool:
    """Whether anybody is to be told of an event now: who opens a wait later asks by itself."""
    if name in ALWAYS_RAISED or (record is not None and record["state"] == "ended"):
        return True
    asked = {"instance": record["id"] if record is not None else "", "name": name}
    return (await tx.execute(_LISTENS, asked)).first() is not None


_HEARD = update(record_table).where(
    record_table.c.id == bindparam("its_id"), record_table.c.status.in_(("WAITING", "PARKED"))
)


async def _expect_to_be_heard(tx: AsyncConnection, instance: str, at: datetime) -> None:
    """Who waits is to go on now; one at work hears of it when that is done."""
    await tx.execute(_HEARD, {"its_id": instance, "expected_at": at})


async def take(tx: AsyncConnection, wait: Wait) -> WaitResult:
    """Gives the wait its event, the same one whenever the same wait asks again."""
    record = await records.get(tx, wait.instance, lock=True)
    if record is None:
        raise records.Lost(f"there is no record of {wait.instance}")
    if wait.name == "cancel" and record["pivoted"]:
        return WaitResult()  # too late, in this run and in every later one
    row = await _wait_row(tx, wait)
    if row is not None and row["state"] in ("claimed", "taken"):
        claimed = await _event(tx, wait, row["event_id"])
        if row["state"] == "claimed":
            await _consume(tx, wait, claimed)
            await records.progress(tx, wait.instance, status="RUNNING")
        return WaitResult(event=claimed)
    if row is not None and row["state"] == "expired":
        return WaitResult(expired=True)
    await _ignore_others(tx, wait)
    event = await _oldest_unconsumed(tx, wait)
    if event is not None:
        await _consume(tx, wait, event)
        await records.progress(tx, wait.instance, status="RUNNING")
        return WaitResult(event=event)
    if row is None:
        return WaitResult()
    if wait.final:
        await _set_wait(tx, wait, state="expired")
        await records.progress(tx, wait.instance, status="RUNNING")
        return WaitResult(expired=True)
    due = row["due_at"]
    if wait.ahead:
        await records.progress(tx, wait.instance, status="RUNNING")
    else:
        await records.progress(
            tx,
            wait.instance,
            status="WAITING",
            step=None,
            waiting_for=wait.name,
            due_at=due,
            expected_at=due,
        )
    return WaitResult(due=due)


_WAIT = select(waits).where(
    waits.c.instance == bindparam("instance"), waits.c.token == bindparam("token")
)


async def _wait_row(tx: AsyncConnection, wait: Wait) -> RowMapping | None:
    if wait.due is not None:
        opened = {
            "instance": wait.instance,
            "token": wait.token,
            "name": wait.name,
            "due_at": wait.due,
            "state": "open",
        }
        await insert_once(tx, waits, opened)
    asked = {"instance": wait.instance, "token": wait.token}
    return (await tx.execute(_WAIT, asked)).mappings().one_or_none()


def _is(instance: str, name: str, event_id: str) -> ColumnElement[bool]:
    return and_(inbox.c.instance == instance, inbox.c.name == name, inbox.c.event_id == event_id)


async def _event(tx: AsyncConnection, wait: Wait, event_id: str) -> Event:
    query = select(inbox).where(_is(wait.instance, wait.name, event_id))
    row = (await tx.execute(query)).mappings().one()
    return Event(event_id=row["event_id"], type=row["type"], data=row["data"])


_OLDEST = (
    select(inbox.c.event_id)
    .where(inbox.c.instance == bindparam("instance"), inbox.c.name == bindparam("name"))
    .where(or_(inbox.c.consumed_at.is_(None), inbox.c.consumed_by == bindparam("token")))
    .order_by(inbox.c.received_at, inbox.c.event_id)
    .limit(1)
)
_NAMED = inbox.c.type.in_(bindparam("types", expanding=True))
_OLDEST_NAMED = _OLDEST.where(_NAMED)


async def _oldest_unconsumed(tx: AsyncConnection, wait: Wait) -> Event | None:
    asked: dict[str, Any] = wait.model_dump(include={"instance", "name", "token"})
    if wait.types:
        asked["types"] = list(wait.types)
    query = _OLDEST_NAMED if wait.types else _OLDEST
    event_id = (await tx.execute(query, asked)).scalar_one_or_none()
    return await _event(tx, wait, event_id) if event_id else None


_OTHERS = (
    update(inbox)
    .where(inbox.c.instance == bindparam("its_instance"), inbox.c.name == bindparam("its_name"))
    .where(inbox.c.consumed_at.is_(None))
    .where(inbox.c.type.not_in(bindparam("types", expanding=True)))
    .values(next_raise_at=None)
)


async def _ignore_others(tx: AsyncConnection, wait: Wait) -> None:
    """Lets no wake-up signal be raised any more for events that this wait does not name.

    They are kept as they are: a later wait may name them, and so may whoever settles the rest
    after the end.
    """
    if not wait.types:
        return
    asked = {"its_instance": wait.instance, "its_name": wait.name, "types": list(wait.types)}
    await tx.execute(_OTHERS, asked)


async def _consume(tx: AsyncConnection, wait: Wait, event: Event) -> None:
    await consumed(tx, wait.instance, wait.name, event.event_id, by=wait.token)
    await _set_wait(tx, wait, state="taken", event_id=event.event_id)
    pivot = wait.pivot
    if pivot and event.type == pivot.type and pivot.data.items() <= event.data.items():
        await records.pass_pivot(tx, wait.instance)


_IS = and_(
    inbox.c.instance == bindparam("its_instance"),
    inbox.c.name == bindparam("its_name"),
    inbox.c.event_id == bindparam("its_event"),
)
_CONSUMED = update(inbox).where(_IS).values(next_raise_at=None)


async def consumed(
    tx: AsyncConnection, instance: str, name: str, event_id: str, *, by: str
) -> None:
    """Marks an event as dealt with, and by what."""
    asked = {"its_instance": instance, "its_name": name, "its_event": event_id}
    await tx.execute(_CONSUMED, {**asked, "consumed_by": by, "consumed_at": records.now()})


_SET_WAIT = update(waits).where(
    waits.c.instance == bindparam("its_instance"), waits.c.token == bindparam("its_token")
)


async def _set_wait(tx: AsyncConnection, wait: Wait, **values: Any) -> None:
    asked = {"its_instance": wait.instance, "its_token": wait.token}
    await tx.execute(_SET_WAIT, {**asked, **columns(waits, values)})


_UNRAISED = (
    select(
        inbox.c.instance,
        inbox.c.event_id,
        inbox.c.name,
        inbox.c.raises,
        record_table.c.id,
        record_table.c.state,
        record_table.c.engine_id,
    )
    .join(record_table, record_table.c.id == inbox.c.instance)
    .where(
        inbox.c.consumed_at.is_(None),
        inbox.c.next_raise_at <= bindparam("at"),
        record_table.c.state == "scheduled",
    )
    .order_by(inbox.c.next_raise_at)
    .limit(bindparam("most"))
)


async def claim_unraised(tx: AsyncConnection, limit: int) -> list[RowMapping]:
    """Takes kept events whose wake-up signal is due: nobody has consumed them, and somebody waits.

    Each is due again after a growing pause, so one that the engine lost is raised again.
    """
    at = records.now()
    rows = list((await tx.execute(_UNRAISED, {"at": at, "most": limit})).mappings())
    heard = []
    for row in rows:
        # Asked row by row: as a part of the query it makes Postgres read every wait.
        listens = await _has_a_listener(tx, row, row["name"])
        due_again = at + pause(row["raises"] + 1, LONGEST_PAUSE) if listens else None
        await _put_off(tx, row, due_again)
        if listens:
            heard.append(row)
    return heard


_LATE = (
    select(inbox, record_table.c.kind, record_table.c.version, record_table.c.outcome)
    .join(record_table, record_table.c.id == inbox.c.instance)
    .where(
        inbox.c.consumed_at.is_(None),
        inbox.c.next_raise_at <= bindparam("at"),
        record_table.c.state == "ended",
    )
    .order_by(inbox.c.next_raise_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=inbox)
)


async def claim_late(tx: AsyncConnection, limit: int) -> list[RowMapping]:
    """Takes events that came after the end, or that no wait of an ended instance consumed."""
    rows = list((await tx.execute(_LATE, {"at": records.now(), "most": limit})).mappings())
    for row in rows:
        await hold_late(tx, row)
    return rows


async def hold_late(tx: AsyncConnection, row: RowMapping) -> None:
    """Prolongs the claim on a late event that is being carried."""
    await _put_off(tx, row, records.now() + claim(row["raises"] + 1))


async def _put_off(tx: AsyncConnection, row: RowMapping, until: datetime | None) -> None:
    await tx.execute(
        update(inbox)
        .where(_is(row["instance"], row["name"], row["event_id"]), inbox.c.consumed_at.is_(None))
        .values(raises=row["raises"] + 1, next_raise_at=until)
    )


async def named(tx: AsyncConnection, instance: str, name: str) -> list[RowMapping]:
    """Every kept event of a name, oldest first."""
    query = (
        select(inbox)
        .where(inbox.c.instance == instance, inbox.c.name == name)
        .order_by(inbox.c.received_at, inbox.c.event_id)
    )
    return list((await tx.execute(query)).mappings())


async def unheard(tx: AsyncConnection, instance: str) -> list[str]:
    """The types of kept events that no run has taken, oldest first; not what we tell it."""
    query = (
        select(inbox.c.type)
        .where(inbox.c.instance == instance, inbox.c.consumed_at.is_(None))
        .where(inbox.c.name.not_in(ALWAYS_RAISED))
        .order_by(inbox.c.received_at)
        .limit(10)
    )
    return list((await tx.execute(query)).scalars())


async def waits_of(tx: AsyncConnection, instance: str, name: str) -> dict[str, str]:
    """The waits for a name that were opened so far, by token, and their states."""
    query = select(waits.c.token, waits.c.state).where(
        waits.c.instance == instance, waits.c.name == name
    )
    return {row["token"]: row["state"] for row in (await tx.execute(query)).mappings()}


async def claim_open(tx: AsyncConnection, instance: str, name: str, event_id: str) -> None:
    """Lets an event take the open wait at once, so that its timer can no longer win.

    Without an open wait the event is simply kept, and the next wait finds it.
    """
    await tx.execute(
        update(waits)
        .where(waits.c.instance == instance, waits.c.name == name, waits.c.state == "open")
        .values(state="claimed", event_id=event_id)
    )
