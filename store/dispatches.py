"""Dispatches of many instances, counted and closed together: one batch before, one after the call.

Only what is ordinary in every respect is taken here: a first run, a key of which nothing is known,
a wait for which nothing has come. Whatever is not goes alone, through `attempts`, `records`, `runs`
and `inbox`, which know every case; so does each of a batch that failed. What is written is the same
either way.

The record's lock comes first, as everywhere, and what hangs on the record is looked at by a later
statement: whatever others wrote under that lock is seen then. Nobody waits for a lock here, so two
batches cannot wait for each other.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from store import Store, dispatch_sql, records
from store.dispatch_sql import Statements
from store.group_commit import GroupCommit
from workflows.messages import Call, Ending, Start, Wait

log = logging.getLogger(__name__)

Row = dict[str, Any]


# Which run of an instance it is, its name in the engine, and which way it goes.
RunOf = tuple[int, str, str]


@dataclass(frozen=True)
class Opening:
    """A dispatch that is about to begin: a step of its instance, until when it is at work on it.

    With `start` it is the first of a run, which asks whether the run may proceed; `input_hash` is
    that of what the run was started with. One that `heeds` is not begun where somebody cancelled.
    """

    operation: str
    call: Call
    at: datetime
    until: datetime
    process: str | None = None
    start: Start | None = None
    input_hash: str | None = None
    heeds: bool = False


class Begun(NamedTuple):
    """The number of a dispatch, and of which run it is."""

    number: int
    run: RunOf


@dataclass(frozen=True)
class Closing:
    """A dispatch that came back, and what is noted with it: waits to open, or the ending.

    They are noted only if the instance is still in the `run` that it began in.
    """

    number: int
    instance: str
    at: datetime
    result: str
    error: str | None = None
    run: RunOf | None = None
    waits: tuple[Wait, ...] = ()
    ending: Ending | None = None


class Dispatches:
    """Begins and finishes dispatches, of one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._openings = GroupCommit(self._begin)
        self._closings = GroupCommit(self._finish)

    async def begin(self, opening: Opening) -> Begun | None:
        """Notes that a dispatch begins, and what its instance is doing.

        `None` where anything about it is unusual, or the store did not do it: then it has to begin
        alone. With `start` it says too that the run may proceed, forward, as it was started.
        What this writes survives our death; that of the machine it need not, for it only counts.
        """
        return await self._openings(opening)

    async def finish(self, closing: Closing) -> bool:
        """Notes durably that a dispatch came back, with all that rides on it.

        `False`, and nothing, where anything about it is unusual, or the store did not do it: then
        it has to finish alone. Each wait is to have the deadline that it gets if it is the first.
        """
        return await self._closings(closing)

    async def _begin(self, openings: Sequence[Opening]) -> Sequence[Begun | None]:
        try:
            async with self._store.transaction(flushed=False) as tx:
                begun = await _begin(tx, openings)
        except Exception as error:
            log.warning("%s dispatches have to begin alone: %r", len(openings), error)
            return [None] * len(openings)
        return [begun.pop((each.call.instance, each.call.key), None) for each in openings]

    async def _finish(self, closings: Sequence[Closing]) -> Sequence[bool]:
        try:
            async with self._store.transaction() as tx:
                finished = await _finish(tx, closings)
        except Exception as error:
            log.warning("%s dispatches have to finish alone: %r", len(closings), error)
            return [False] * len(closings)
        return [each.number in finished for each in closings]


async def _begin(tx: AsyncConnection, openings: Sequence[Opening]) -> dict[tuple[str, str], Begun]:
    """Those that were taken, by instance and key."""
    sql = dispatch_sql.of(tx.dialect.name)
    # The first of each instance: of two, the second is not ordinary.
    firsts = {each.call.instance: each for each in reversed(openings)}
    known = await _locked(tx, sql, firsts)
    rows = [
        _opened(each, known[id])
        for id, each in firsts.items()
        if id in known and _is_ordinary(each, known[id])
    ]
    begun = {row.instance: row for row in await _run(tx, sql.begin, rows)}
    await _run(tx, sql.progress, [row for row in rows if row["instance"] in begun])
    return {(row.instance, row.key): Begun(row.id, _run_of(known[id])) for id, row in begun.items()}


def _run_of(record: Any) -> RunOf:
    return record.runs, record.engine_id, record.direction


async def _locked(tx: AsyncConnection, sql: Statements, ids: Iterable[str]) -> dict[str, Any]:
    """The records that nobody else is changing, locked, by id."""
    wanted: Any = list(ids)
    if tx.dialect.name != "postgresql":
        wanted = json.dumps(wanted)
    return {row.id: row for row in await tx.exec_driver_sql(sql.lock, (wanted,))}


async def _run(tx: AsyncConnection, statement: str, rows: Sequence[Row]) -> Sequence[Any]:
    if not rows:
        return ()
    result = await tx.exec_driver_sql(statement, (json.dumps(rows),))
    return result.all() if result.returns_rows else ()


def _is_ordinary(opening: Opening, record: Any) -> bool:
    call, start = opening.call, opening.start
    if record.state == "ended" or record.runs:
        return False
    if start is not None:
        return _is_first(start, opening.input_hash, record)
    return bool(call.undoes or call.must or record.direction == "forward")


def _is_first(start: Start, input_hash: str | None, record: Any) -> bool:
    """Whether a run is what was accepted, and nothing has happened to it yet."""
    asked = (start.kind, start.engine_id, "forward", None, False)
    said = (record.kind, record.engine_id, record.direction, record.reason, bool(record.refused))
    return (
        asked == said
        and start.version is not None
        and record.version in (None, start.version)
        and input_hash == records.content_hash(json.loads(record.input))
    )


def _opened(opening: Opening, record: Any) -> Row:
    call, start = opening.call, opening.start
    return {
        "instance": call.instance,
        "key": call.key,
        "next_key": call.next_key,
        "operation": opening.operation,
        "undoes": call.undoes,
        "process": opening.process,
        "step": call.key.partition("/")[2],
        "at": _moment(opening.at),
        "until": _moment(opening.until),
        "pivots": call.must and record.direction == "forward",
        "starts": start is not None,
        "heeds": opening.heeds or start is not None,
        "version": start.version if start else None,
    }


async def _finish(tx: AsyncConnection, closings: Sequence[Closing]) -> set[int]:
    """The numbers of those that were taken."""
    sql = dispatch_sql.of(tx.dialect.name)
    riding = [each for each in closings if each.waits or each.ending]
    carried = await _carried(tx, sql, riding) if riding else []
    taken = [each for each in closings if not (each.waits or each.ending)] + carried
    await _run(tx, sql.finish, [_closed(each) for each in taken])
    endings = [_ended(each, each.ending) for each in carried if each.ending]
    await _run(tx, sql.end, endings)
    await _run(tx, sql.release, endings)
    await _run(tx, sql.open, [row for each in carried for row in _waits(each)])
    await _run(tx, sql.wait, [_waiting(each) for each in carried if each.waits])
    return {each.number for each in taken}


async def _carried(
    tx: AsyncConnection, sql: Statements, riding: Sequence[Closing]
) -> list[Closing]:
    """Those whose riders need nothing but to be noted; one of each instance."""
    firsts = {each.instance: each for each in reversed(riding) if _is_plain(each)}
    known = await _locked(tx, sql, firsts) if firsts else {}
    open_ = [
        firsts[id]
        for id, record in known.items()
        if record.state != "ended" and firsts[id].run == _run_of(record)
    ]
    found = await _run(tx, sql.look, [row for each in open_ for row in _waits(each)])
    heard = {row.instance for row in found}
    return [each for each in open_ if each.instance not in heard]


def _is_plain(closing: Closing) -> bool:
    opens = all(
        wait.due is not None and not wait.final and wait.name != "cancel" for wait in closing.waits
    )
    return opens and not (closing.waits and closing.ending)


def _closed(closing: Closing) -> Row:
    return {
        "number": closing.number,
        "at": _moment(closing.at),
        "result": closing.result,
        "error": closing.error,
    }


def _ended(closing: Closing, ending: Ending) -> Row:
    return {
        "instance": closing.instance,
        "outcome": ending.outcome,
        "reason": ending.reason,
        "detail": ending.detail,
        "at": _moment(closing.at),
    }


def _waits(closing: Closing) -> list[Row]:
    return [
        {
            "instance": closing.instance,
            "token": wait.token,
            "name": wait.name,
            "due": _moment(wait.due),
        }
        for wait in closing.waits
    ]


def _waiting(closing: Closing) -> Row:
    last = closing.waits[-1]
    due = None if last.ahead else _moment(last.due)
    return {
        "instance": closing.instance,
        "status": "RUNNING" if last.ahead else "WAITING",
        "at_work": all(wait.ahead for wait in closing.waits),
        "waiting_for": None if last.ahead else last.name,
        "due": due,
        "expected": due or _moment(closing.at),
        "at": _moment(closing.at),
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(" ", "microseconds")
