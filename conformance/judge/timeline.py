"""Everything that is known of one instance, in order of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from conformance.judge.evidence import Evidence
from conformance.judge.verdict import Hit

Row = dict[str, Any]


def timeline(messages: Sequence[Mapping[str, Any]], seen: Evidence, hit: Hit) -> list[Row]:
    """The rows of the gate (its `messages`), witness, client, fault and application."""
    rows = [_row(m["at"], "gate", f"{m['point']} {m['action']}") for m in messages]
    rows += [
        _row(
            _moment(a["at"]),
            "witness",
            f"{a['operation']} {a['key']}: {a['result']}, response {a['response']}",
        )
        for a in seen.attempts
    ]
    rows += [_row(_moment(e["at"]), "effect", _effect(e)) for e in seen.effects]
    rows += [_row(a.at, "client", f"{a.what}: {a.status}") for a in seen.answers]
    if hit.at:
        rows.append(_row(hit.at, "fault", f"{seen.fault}: {hit.text}"))
        rows.append(_row(hit.healed_at, "fault", "healed"))
    rows += _reported(seen.status)
    return sorted(rows, key=lambda row: row["at"])


def _row(at: float, source: str, what: str) -> Row:
    return {"at": at, "source": source, "what": what}


def _effect(effect: Mapping[str, Any]) -> str:
    undoes = f" undoes {effect['undoes']}" if effect["undoes"] else ""
    return f"{effect['operation']} {effect['key']}{undoes}"


def _reported(status: Mapping[str, Any] | None) -> Iterator[Row]:
    """What the application tells in a `timeline` of its own, if it has one."""
    rows = (status or {}).get("timeline")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("at"), str):
            rest = [str(v) for k, v in row.items() if k != "at" and v is not None]
            yield _row(_moment(row["at"]), "app", " ".join(rest))


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
