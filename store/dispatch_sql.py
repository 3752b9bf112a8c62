"""The statements of `dispatches`, as text that is built once for each database.

Each takes all rows of a batch as one parameter, a list in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

# A row's fields, as Postgres is told their types.
OPENED = {
    **dict.fromkeys(("instance", "key", "next_key", "operation", "undoes", "process"), "text"),
    **dict.fromkeys(("step", "version"), "text"),
    **dict.fromkeys(("at", "until"), "timestamptz"),
    **dict.fromkeys(("pivots", "starts", "heeds"), "boolean"),
}
CLOSED = {"number": "integer", "at": "timestamptz", "result": "text", "error": "text"}
ENDED = {
    **dict.fromkeys(("instance", "outcome", "reason"), "text"),
    "detail": "json",
    "at": "timestamptz",
}
WAIT = {**dict.fromkeys(("instance", "token", "name"), "text"), "due": "timestamptz"}
WAITING = {
    **dict.fromkeys(("instance", "status", "waiting_for"), "text"),
    "at_work": "boolean",
    **dict.fromkeys(("due", "expected", "at"), "timestamptz"),
}


@dataclass(frozen=True)
class Statements:
    """What is asked of one kind of database."""

    lock: str
    begin: str
    progress: str
    finish: str
    end: str
    release: str
    look: str
    open: str
    wait: str


@cache
def of(dialect: str) -> Statements:
    """Those of a database, by the name of its dialect."""
    rows = _recordset if dialect == "postgresql" else _each
    return Statements(
        lock=_lock(dialect),
        begin=BEGIN.format(rows=rows(OPENED)),
        progress=PROGRESS.format(rows=rows(OPENED)),
        finish=FINISH.format(rows=rows(CLOSED)),
        end=END.format(rows=rows(ENDED)),
        release=RELEASE.format(rows=rows(ENDED)),
        look=LOOK.format(rows=rows(WAIT)),
        open=OPEN.format(rows=rows(WAIT)),
        wait=WAITS.format(rows=rows(WAITING)),
    )


def _recordset(fields: dict[str, str]) -> str:
    typed = ", ".join(f"{name} {type}" for name, type in fields.items())
    return f"json_to_recordset($1::text::json) AS asked({typed})"


def _each(fields: dict[str, str]) -> str:
    values = {name: f"json_extract(value, '$.{name}')" for name in fields}
    # sqlite keeps an instant as text, without its zone.
    values |= {
        name: f"substr({values[name]}, 1, 26)"
        for name, type in fields.items()
        if type == "timestamptz"
    }
    named = ", ".join(f"{value} AS {name}" for name, value in values.items())
    return f"(SELECT {named} FROM json_each(?)) AS asked"


def _lock(dialect: str) -> str:
    columns = "id, kind, engine_id, version, state, runs, direction, reason, refused"
    query = f"SELECT {columns}, CAST(input AS TEXT) AS input FROM records WHERE id"
    if dialect == "postgresql":
        return f"{query} = ANY($1::text[]) ORDER BY id FOR UPDATE SKIP LOCKED"
    # The transaction is the only one that writes.
    return f"{query} IN (SELECT value FROM json_each(?))"


BEGIN = """INSERT INTO attempts
    (instance, key, operation, undoes, alone, process, begun_at, forgiven)
SELECT instance, key, operation, undoes, false, process, at, false FROM {rows}
WHERE NOT EXISTS (SELECT 1 FROM attempts AS past WHERE past.key IN (asked.key, asked.next_key))
AND NOT EXISTS (SELECT 1 FROM interventions WHERE interventions.key = asked.key)
AND NOT EXISTS (
    SELECT 1 FROM inbox WHERE inbox.instance = asked.instance AND inbox.name = 'cancel'
    AND (asked.heeds OR (asked.pivots AND inbox.consumed_at IS NULL)))
AND NOT (asked.starts
    AND EXISTS (SELECT 1 FROM attempts AS past WHERE past.instance = asked.instance))
RETURNING id, instance, key"""

PROGRESS = """UPDATE records SET
    status = 'RUNNING', step = asked.step, progress_at = asked.at, expected_at = asked.until,
    waiting_for = NULL, due_at = NULL, woken_at = NULL,
    pivoted = records.pivoted OR asked.pivots,
    started_at = CASE WHEN asked.starts THEN coalesce(records.started_at, asked.at)
        ELSE records.started_at END,
    version = CASE WHEN asked.starts THEN asked.version ELSE records.version END
FROM {rows} WHERE records.id = asked.instance"""

FINISH = """UPDATE attempts SET ended_at = asked.at, result = asked.result, error = asked.error
FROM {rows} WHERE attempts.id = asked.number"""

END = """UPDATE records SET
    state = 'ended', status = 'ENDED', step = NULL, waiting_for = NULL, due_at = NULL,
    woken_at = NULL, expected_at = NULL, progress_at = asked.at, ended_at = asked.at,
    outcome = asked.outcome, reason = asked.reason, detail = coalesce(asked.detail, 'null')
FROM {rows} WHERE records.id = asked.instance"""

# What it has not heard is the courier's now.
RELEASE = """UPDATE inbox SET next_raise_at = asked.at, raises = 0
FROM {rows} WHERE inbox.instance = asked.instance AND inbox.consumed_at IS NULL"""

LOOK = """SELECT instance FROM {rows}
WHERE EXISTS (
    SELECT 1 FROM waits WHERE waits.instance = asked.instance AND waits.token = asked.token)
OR EXISTS (
    SELECT 1 FROM inbox WHERE inbox.instance = asked.instance AND inbox.name = asked.name
    AND (inbox.consumed_at IS NULL OR inbox.consumed_by = asked.token))"""

OPEN = """INSERT INTO waits (instance, token, name, due_at, state)
SELECT instance, token, name, due, 'open' FROM {rows}"""

WAITS = """UPDATE records SET
    status = asked.status, waiting_for = asked.waiting_for, due_at = asked.due,
    expected_at = asked.expected, progress_at = asked.at, woken_at = NULL,
    step = CASE WHEN asked.at_work THEN records.step END
FROM {rows} WHERE records.id = asked.instance"""
