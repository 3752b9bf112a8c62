"""Accepted starts: inserted before anything is scheduled, kept after the engine has forgotten."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, bindparam, case, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import columns, insert_once
from store.clock import now as now
from store.schema import inbox, records
from workflows.messages import DirectionChange, Ending

OPEN = records.c.state != "ended"
MAX_PAUSE = 60.0  # seconds between two tries to start an instance


def content_hash(body: Any) -> str:
    """The identity of a body: equal bodies hash alike whatever the order of their fields."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Lost(Exception):
    """Something runs of which there is no record: nobody knows what may be done, or undone."""


class Conflict(Exception):
    """The id or the idempotency key was used before, for something else."""


async def accept(
    tx: AsyncConnection,
    *,
    id: str | None,
    kind: str,
    idempotency_key: str | None,
    request_hash: str,
    input: dict[str, Any],
    former_hashes: Collection[str] = (),
) -> RowMapping:
    """Accepts a start once, and returns its record, made now or by the very same start before.

    Without an id the idempotency key finds the record; without both, every start is a new one.
    `former_hashes` are those that releases before this one gave to the same request.

    Raises:
        Conflict: the id or the key belongs to another request.
    """
    at, asked = now(), id
    if id is None and idempotency_key is not None:
        id = await _id_of(tx, kind, idempotency_key)
    id = id or str(uuid.uuid4())
    inserted = await insert_once(
        tx,
        records,
        {
            "id": id,
            "engine_id": id,
            "kind": kind,
            "idempotency_key": idempotency_key,
            "request_hash": request_hash,
            "input": {**input, "id": id},
            "state": "accepted",
            "status": "ACCEPTED",
            "direction": "forward",
            "accepted_at": at,
            "progress_at": at,
            "expected_at": at,
            "claimed_until": at,
        },
    )
    existing = await get(tx, id)
    if existing is None and idempotency_key is not None:
        # Somebody else's start with this key was faster, between the look-up and the insert.
        existing = await get(tx, await _id_of(tx, kind, idempotency_key) or "")
    if existing is None:
        raise RuntimeError(f"record {id} is neither new nor known")
    if inserted:
        return existing
    if asked is not None and existing["id"] != asked:
        raise Conflict(f"Idempotency-Key {idempotency_key!r} was used for id {existing['id']!r}")
    same = existing["request_hash"] in (request_hash, *former_hashes)
    if existing["kind"] != kind or not same:
        raise Conflict(f"id {existing['id']!r} was used for another request")
    return existing


async def _id_of(tx: AsyncConnection, kind: str, idempotency_key: str) -> str | None:
    query = select(records.c.id).where(
        records.c.kind == kind, records.c.idempotency_key == idempotency_key
    )
    return (await tx.execute(query)).scalar_one_or_none()


# What is asked at every turn is built once.
_ONE = select(records).where(records.c.id == bindparam("its_id"))
_ONE_LOCKED = _ONE.with_for_update()


async def get(tx: AsyncConnection, id: str, *, lock: bool = False) -> RowMapping | None:
    """One record; with `lock`, whoever else wants to change this instance waits."""
    query = _ONE_LOCKED if lock else _ONE
    return (await tx.execute(query, {"its_id": id})).mappings().one_or_none()


async def page(
    tx: AsyncConnection,
    *,
    kind: str | None,
    status: str | None,
    after: str | None,
    limit: int,
    version: str | None = None,
) -> list[RowMapping]:
    """Records in order of their ids, from behind `after`."""
    query = select(records).order_by(records.c.id).limit(limit)
    if version:
        query = query.where(records.c.version == version)
    if kind:
        query = query.where(records.c.kind == kind)
    if status == "SUSPENDED":
        query = query.where(records.c.suspended, OPEN)
    elif status:
        resting = and_(records.c.suspended, OPEN)
        query = query.where(records.c.status == status, not_(resting))
    if after:
        query = query.where(records.c.id > after)
    return list((await tx.execute(query)).mappings())


_UNSCHEDULED = (
    select(records)
    .where(
        records.c.state == "accepted",
        records.c.suspended.is_(False),
        # A replica of the version before accepts without saying when it may be claimed.
        or_(records.c.claimed_until <= bindparam("at"), records.c.claimed_until.is_(None)),
    )
    .order_by(records.c.claimed_until)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)


async def claim_unscheduled(tx: AsyncConnection, limit: int, claim: float) -> list[RowMapping]:
    """Takes up to `limit` accepted records, so that one relay starts each.

    The claim is `claim` seconds for a first run, and four times as long for a later one, which has
    to stop what is left of the run before it.
    """
    at = now()
    rows = list((await tx.execute(_UNSCHEDULED, {"at": at, "most": limit})).mappings())
    for again in (False, True):
        ids = [row["id"] for row in rows if (row["runs"] > 0) == again]
        until = at + timedelta(seconds=claim * 4 if again else claim)
        if ids:
            await tx.execute(
                update(records).where(records.c.id.in_(ids)).values(claimed_until=until)
            )
    return rows


def _is_this_start(id: str, runs: int, engine_id: str) -> ColumnElement[bool]:
    """Whether this run, under this name, is what is to be started still."""
    this = and_(records.c.runs == runs, records.c.engine_id == engine_id)
    return and_(records.c.id == id, records.c.state == "accepted", this)


async def mark_scheduled(
    tx: AsyncConnection, id: str, *, runs: int = 0, engine_id: str | None = None
) -> bool:
    """The engine has it, and something is to be heard of it now, unless it was heard already.

    `runs` is the run that was started, `engine_id` its name there (by default the id); `False` if
    another is to be started by now.
    """
    at = now()
    unheard = (records.c.status == "ACCEPTED", at)
    # Suspended while it was being started: the engine did not know it then, and has to be told.
    rested = (records.c.suspended, at)
    marked = await tx.execute(
        update(records)
        .where(_is_this_start(id, runs, engine_id or id))
        .values(
            state="scheduled",
            claimed_until=None,
            start_failures=0,
            expected_at=case(unheard, else_=records.c.expected_at),
            control_at=case(rested, else_=records.c.control_at),
        )
    )
    return marked.rowcount == 1


async def release(tx: AsyncConnection, record: RowMapping) -> None:
    """Gives a claimed record back, to be tried again after a pause that grows with its failures."""
    pause = min(MAX_PAUSE, 2.0 ** min(record["start_failures"], 10))
    await tx.execute(
        update(records)
        .where(_is_this_start(record["id"], record["runs"], record["engine_id"]))
        .values(
            claimed_until=now() + timedelta(seconds=pause),
            start_failures=records.c.start_failures + 1,
        )
    )


def names_before(record: RowMapping) -> list[str]:
    """The names under which the engine knew an instance, and could no longer read it."""
    _, _, number = record["engine_id"].partition("~")
    earlier = [f"{record['id']}~{n}" for n in range(1, int(number or 0))]
    return [record["id"], *earlier] if number else []


async def rename(tx: AsyncConnection, record: RowMapping) -> None:
    """Gives an instance another name in the engine; its id, and so its keys, stay."""
    # A tilde, because no id that a caller may choose has one.
    engine_id = f"{record['id']}~{len(names_before(record)) + 1}"
    await tx.execute(
        update(records)
        .where(_is_this_start(record["id"], record["runs"], record["engine_id"]))
        .values(engine_id=engine_id)
    )


async def ran(tx: AsyncConnection, record: RowMapping) -> None:
    """Notes that a first start may have come to something: whatever is started now is a later run.

    It stops what is left, and asks the providers what was done already.
    """
    await tx.execute(
        update(records)
        .where(records.c.id == record["id"], records.c.state == "accepted", records.c.runs == 0)
        .values(runs=1)
    )


_PASS_PIVOT = (
    update(records)
    .where(records.c.id == bindparam("its_id"), OPEN, records.c.direction == "forward")
    .values(pivoted=True)
)
_TOO_LATE = (
    update(inbox)
    .where(inbox.c.instance == bindparam("its_id"), inbox.c.name == "cancel")
    .where(inbox.c.consumed_at.is_(None))
    .values(consumed_by="too_late", consumed_at=bindparam("at"))
)


async def pass_pivot(tx: AsyncConnection, id: str) -> None:
    """Notes that there is no way back for an instance that goes forward.

    A cancel that was kept and not obeyed has lost, in this run and in every later one.
    """
    passed = await tx.execute(_PASS_PIVOT, {"its_id": id})
    if passed.rowcount:
        await tx.execute(_TOO_LATE, {"its_id": id, "at": now()})


_RUN_BEFORE = select(records.c.accepted_at).where(
    records.c.id == bindparam("its_id"), records.c.runs > 0
)


async def run_before_since(tx: AsyncConnection, id: str) -> datetime | None:
    """Since when an earlier run may have tried anything; `None` if there was none.

    Its attempts may be missing: an older copy of the store may have been put back.
    """
    since: datetime | None = (await tx.execute(_RUN_BEFORE, {"its_id": id})).scalar_one_or_none()
    return since


_CANCEL = (
    select(inbox.c.event_id)
    .where(inbox.c.instance == bindparam("its_id"), inbox.c.name == "cancel")
    .limit(1)
)


async def cancelled(tx: AsyncConnection, record: RowMapping) -> bool:
    """Whether an instance is on its way down, or is told to be and can still obey."""
    if record["direction"] == "down":
        return True
    if record["pivoted"]:
        return False
    return (await tx.execute(_CANCEL, {"its_id": record["id"]})).first() is not None


_PROGRESS = update(records).where(records.c.id == bindparam("its_id"), OPEN)


async def progress(tx: AsyncConnection, id: str, **values: Any) -> None:
    """Notes what an instance that has not ended is doing now.

    `expected_at` is when something is to be heard of it again if all is well, which is now unless
    it is given; `None` while it waits for a person.
    """
    at = now()
    new = {"waiting_for": None, "due_at": None, "woken_at": None, "expected_at": at, **values}
    asked = {"its_id": id, **columns(records, {"progress_at": at, **new})}
    await tx.execute(_PROGRESS, asked)


async def expect(tx: AsyncConnection, id: str, at: datetime) -> None:
    """A sign of life that changes nothing else: something will be heard of it again until `at`."""
    sign = {"progress_at": now(), "expected_at": at, "woken_at": None}
    await tx.execute(_PROGRESS, {"its_id": id, **sign})


async def turn(tx: AsyncConnection, turn: DirectionChange) -> None:
    """Records a change of direction before the first effect that it leads to."""
    values = turn.model_dump(include={"direction", "reason", "refused"})
    await progress(tx, turn.instance, status="RUNNING", **values)
    if turn.direction == "forward":
        await pass_pivot(tx, turn.instance)


_UNHEARD = (
    update(inbox)
    .where(inbox.c.instance == bindparam("its_id"), inbox.c.consumed_at.is_(None))
    .values(next_raise_at=bindparam("at"), raises=0)
)


async def end(tx: AsyncConnection, ending: Ending) -> None:
    """Keeps the first outcome; a second run of an ended instance changes nothing."""
    at = now()
    await progress(
        tx,
        ending.instance,
        state="ended",
        status="ENDED",
        expected_at=None,
        step=None,
        outcome=ending.outcome,
        reason=ending.reason,
        detail=ending.detail,
        ended_at=at,
    )
    # What it has not heard is the courier's now.
    await tx.execute(_UNHEARD, {"its_id": ending.instance, "at": at})
