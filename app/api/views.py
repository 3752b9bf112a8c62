"""What is shown of an instance: from the store alone, so that the engine need not be there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from workflows import UnknownKind, of_record
from workflows.definition import States


def moment(at: datetime | None) -> str | None:
    """A time as it is shown: ISO 8601 in UTC."""
    return at.isoformat().replace("+00:00", "Z") if at else None


def view(
    record: RowMapping,
    attempts: Sequence[RowMapping] = (),
    events: Sequence[RowMapping] = (),
    incidents: Sequence[RowMapping] = (),
) -> dict[str, Any]:
    """One instance."""
    failed = [row for row in attempts if row["result"] == "fault"]
    open_incidents = [row for row in incidents if row["action"] is None]
    error = failed[-1]["error"] if failed and record["state"] != "ended" else None
    shown: dict[str, Any] = {
        "id": record["id"],
        "kind": record["kind"],
        "status": status(record),
        "outcome": record["outcome"],
        "reason": record["reason"],
        "detail": record["detail"],
        "version": record["version"],
        "direction": record["direction"],
        "step": record["step"],
        "waiting_for": record["waiting_for"],
        "due_at": moment(record["due_at"]),
        "attempts": len(attempts),
        "error": open_incidents[-1]["reason"] if open_incidents else error,
        "accepted_at": moment(record["accepted_at"]),
        "started_at": moment(record["started_at"]),
        "ended_at": moment(record["ended_at"]),
        "timeline": timeline(record, attempts, events, incidents),
    }
    states = _states(record)
    if states is not None:
        shown["phase"] = _phase(states, record, attempts)
    return shown


def _states(record: RowMapping) -> States | None:
    try:
        return of_record(record).states
    except UnknownKind:
        return None  # a newer release accepted it


def _phase(states: States, record: RowMapping, attempts: Sequence[RowMapping]) -> str:
    ours = [row for row in attempts if row["key"] == f"{record['id']}/{record['step']}"]
    return states.word(
        record["step"],
        done=bool(ours) and ours[-1]["result"] == "applied",
        failed=record["status"] == "PARKED" or record["waiting_for"] == "reconcile",
        down=record["direction"] == "down",
        outcome=record["outcome"],
    )


def status(record: RowMapping) -> str:
    """ACCEPTED, RUNNING, WAITING, PARKED, SUSPENDED or ENDED."""
    resting = record["suspended"] and record["state"] != "ended"
    return "SUSPENDED" if resting else str(record["status"])


def timeline(
    record: RowMapping,
    attempts: Sequence[RowMapping],
    events: Sequence[RowMapping],
    incidents: Sequence[RowMapping],
) -> list[dict[str, Any]]:
    """Everything that happened to an instance, in order of time."""
    entries: list[tuple[datetime | None, dict[str, Any]]] = [
        (record["accepted_at"], {"what": "accepted"}),
        (record["started_at"], {"what": "started"}),
        (record["ended_at"], {"what": "ended", "outcome": record["outcome"]}),
    ]
    for row in attempts:
        entry = {
            "what": "attempt",
            "key": row["key"],
            "operation": row["operation"],
            "result": row["result"] or "unfinished",
            "error": row["error"],
            "ended_at": moment(row["ended_at"]),
        }
        entries.append((row["begun_at"], entry))
    for row in events:
        entry = {"what": "event", "event_id": row["event_id"], "type": row["type"]}
        entries.append((row["received_at"], entry))
    for row in incidents:
        entry = {"what": "intervention", "id": row["id"], "kind": row["kind"]}
        entries.append((row["opened_at"], {**entry, "reason": row["reason"]}))
        answered = {**entry, "what": "intervention answered", "action": row["action"]}
        entries.append((row["answered_at"], {**answered, "by": row["answered_by"]}))
    known = [(at, entry) for at, entry in entries if at is not None]
    return [{"at": moment(at), **entry} for at, entry in sorted(known, key=lambda pair: pair[0])]


def intervention(row: RowMapping) -> dict[str, Any]:
    """One intervention."""
    return {
        "id": row["id"],
        "instance": row["instance"],
        "kind": row["kind"],
        "reason": row["reason"],
        "opened_at": moment(row["opened_at"]),
        "alerted_at": moment(row["alerted_at"]),
        "reminders": row["reminders"],
        "escalated_at": moment(row["escalated_at"]),
        "action": row["action"],
        "note": row["note"],
        "answered_by": row["answered_by"],
        "answered_at": moment(row["answered_at"]),
    }
