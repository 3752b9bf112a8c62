"""What happens after an answer has left: settlements, later events, and the word about them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from downstream.config import SETTLED, Event, Operation, Rule
from downstream.facts import AnyFact, Callback, Deed, Plan
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
    deed: Deed, course: Sequence[Step], changes: Mapping[str, CallbackChange]
) -> Iterator[Plan]:
    """The course with its dates, as far as the script lets it happen."""
    due = deed.at
    for step in course:
        change = changes.get(step.event.type, UNCHANGED)
        if change.never:
            return
        due += timedelta(seconds=step.event.after if change.after is None else change.after)
        yield Plan(
            deed=deed.n,
            type=step.event.type,
            source=step.event.source,
            due=due,
            settles=step.settles,
            reason=step.reason,
            ends_undo=step.event.ends_undo,
            copies=change.copies,
            despite_undo=change.despite_undo,
        )


def happen(store: Store, plan: Plan) -> tuple[AnyFact, ...]:
    """What becomes true when a plan is due; only its end, when an undo came first."""
    over = plan.model_copy(update={"over": True})
    deed = store.deeds[plan.deed]
    if deed.closed_by and not plan.despite_undo:
        return (over,)
    now = datetime.now(UTC)
    facts: list[AnyFact] = [over]
    if plan.settles:
        deed, others = _settled(store, deed, plan, now)
        facts.extend(others)
    if plan.ends_undo and deed.state == "applied":
        deed = deed.model_copy(update={"too_late_after": plan.type})
    facts.append(deed)
    if plan.source and plan.copies:
        data = {"operation": deed.operation, "provider_id": deed.provider_id, "reason": plan.reason}
        facts.append(
            new_callback(
                store,
                event_id=_event_id(deed, plan.type),
                source=plan.source,
                type_=plan.type,
                reference=deed.reference,
                data={name: value for name, value in data.items() if value is not None},
                copies=plan.copies,
            )
        )
    return tuple(facts)


def _settled(
    store: Store, deed: Deed, plan: Plan, now: datetime
) -> tuple[Deed, tuple[AnyFact, ...]]:
    if plan.settles == "applied" and deed.target is not None:
        return give_back(store, deed, store.deeds[deed.target], now)
    deed = deed.model_copy(update={"state": plan.settles, "reason": plan.reason})
    if plan.settles == "applied":
        return deed, tuple(store.carried_out(deed, now))
    return deed, tuple(store.counters.let_go(deed.n))


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
    """The word about something that happens now, to be sent in `after` seconds.

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


def _event_id(deed: Deed, type_: str) -> str:
    # Quoted, so that it has no slash, and with another sign than the percent of a URL.
    reference = quote(deed.reference, safe="").replace("%", "=")
    if len(reference) > LONGEST_NAME:
        reference = hashlib.sha256(deed.reference.encode()).hexdigest()
    again = f"-{deed.generation}" if deed.generation > 1 else ""
    return f"evt-{reference}-{type_}{again}"
