"""What happens after an answer has left: settlements, later events, and their callbacks."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from downstream.config import SETTLED, Event, Operation, Rule
from downstream.records import AnyRecord, Callback, Plan, StoredRequest
from downstream.script import CallbackChange
from downstream.store import Store
from downstream.undoing import give_back

UNCHANGED = CallbackChange()
# Receivers bound the length of an event id; a longer reference is hashed for it.
LONGEST_NAME = 120


@dataclass(frozen=True)
class Step:
    """An event that follows a do, and how it settles the do where it was pending."""

    event: Event
    settles: Literal["applied", "refused"] | None = None
    reason: str | None = None


def course_of(declared: Operation, rule: Rule) -> list[Step]:
    """What follows a do, in order."""
    later = [Step(event) for event in rule.events]
    pending = rule.pending
    if pending is None:
        return later
    if pending.settle is None:
        return []
    names = declared.settlement
    event = Event(
        source=names.source if names else None,
        type=getattr(names, pending.settle) if names else SETTLED,
        after=pending.after,
    )
    if pending.settle == "refused":
        return [Step(event, "refused", pending.reason)]
    return [Step(event, "applied"), *later]


def plans(
    stored: StoredRequest, course: Sequence[Step], changes: Mapping[str, CallbackChange]
) -> Iterator[Plan]:
    """The course with its dates, as far as the script lets it happen."""
    due = stored.at
    for step in course:
        change = changes.get(step.event.type, UNCHANGED)
        if change.never:
            return
        due += timedelta(seconds=step.event.after if change.after is None else change.after)
        yield Plan(
            request=stored.n,
            type=step.event.type,
            source=step.event.source,
            due=due,
            settles=step.settles,
            reason=step.reason,
            ends_undo=step.event.ends_undo,
            copies=change.copies,
            despite_undo=change.despite_undo,
        )


def happen(store: Store, plan: Plan) -> tuple[AnyRecord, ...]:
    """What becomes true when a plan is due; only its end, when an undo came first."""
    over = plan.model_copy(update={"over": True})
    stored = store.requests[plan.request]
    if stored.closed_by and not plan.despite_undo:
        return (over,)
    now = datetime.now(UTC)
    records: list[AnyRecord] = [over]
    if plan.settles:
        stored, others = _settled(store, stored, plan, now)
        records.extend(others)
    if plan.ends_undo and stored.state == "applied":
        stored = stored.model_copy(update={"too_late_after": plan.type})
    records.append(stored)
    if plan.source and plan.copies:
        data = {
            "operation": stored.operation,
            "provider_id": stored.provider_id,
            "reason": plan.reason,
        }
        records.append(
            new_callback(
                store,
                event_id=_event_id(stored, plan.type),
                source=plan.source,
                type_=plan.type,
                reference=stored.reference,
                data={name: value for name, value in data.items() if value is not None},
                copies=plan.copies,
            )
        )
    return tuple(records)


def _settled(
    store: Store, stored: StoredRequest, plan: Plan, now: datetime
) -> tuple[StoredRequest, tuple[AnyRecord, ...]]:
    if plan.settles == "applied" and stored.target is not None:
        return give_back(store, stored, store.requests[stored.target], now)
    stored = stored.model_copy(update={"state": plan.settles, "reason": plan.reason})
    if plan.settles == "applied":
        return stored, tuple(store.carried_out(stored, now))
    return stored, tuple(store.counters.release(stored.n))


def new_callback(
    store: Store,
    *,
    event_id: str,
    source: str,
    type_: str,
    reference: str,
    data: Mapping[str, Any],
    copies: int = 1,
    after: float = 0,
) -> Callback:
    """The callback for something that happens now, to be sent in `after` seconds.

    Raises:
        ValueError: the data cannot be written as JSON.
    """
    now = datetime.now(UTC)
    body = {
        "type": type_,
        "reference": reference,
        "occurred_at": now.isoformat(timespec="microseconds"),
        "data": dict(data),
    }
    text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    # Half of a surrogate pair fails here, and not when the callback is sent.
    text.encode()
    return Callback(
        n=len(store.callbacks) + 1,
        event_id=event_id,
        source=source,
        body=text,
        due=now + timedelta(seconds=after),
        copies=copies,
    )


def _event_id(stored: StoredRequest, type_: str) -> str:
    # Quoted, so that it has no slash, and with another sign than the percent of a URL.
    reference = quote(stored.reference, safe="").replace("%", "=")
    if len(reference) > LONGEST_NAME:
        reference = hashlib.sha256(stored.reference.encode()).hexdigest()
    again = f"-{stored.generation}" if stored.generation > 1 else ""
    return f"evt-{reference}-{type_}{again}"
