"""The protocol: what a request comes to. No I/O; a decision lists the records to be committed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from downstream.config import Operation, Pending, Providers, Rule
from downstream.counters import Place, wanted
from downstream.events import course_of, plans
from downstream.records import AnyRecord, Part, Result, Setting, StoredRequest
from downstream.requests import Ask
from downstream.script import Then
from downstream.store import Store
from downstream.undoing import TOO_MUCH, give_back

CONFLICT = "this key was used before with another body"

STATUS: Mapping[Result, int] = {
    "applied": 200,
    "pending": 202,
    "closed": 200,
    "refused": 409,
    "undone": 409,
    "too_late": 409,
}


class Answer(BaseModel):
    """The provider's answer to a request."""

    result: Result
    operation: str
    key: str
    provider_id: str | None = None
    reason: str | None = None
    detail: dict[str, Any] = {}


@dataclass(frozen=True)
class Decision:
    """What a request came to: `result` in the ledger's words, and the records to be committed.

    There is no answer to a key that was used before with another body, nor to what would undo an
    undo or give back no amount; `why` says so. `shaped` says whether the script had a part in the
    decision.
    """

    result: str
    answer: Answer | None
    status: int
    records: tuple[AnyRecord, ...] = ()
    shaped: bool = False
    why: str = ""


def answer_of(stored: StoredRequest) -> Answer:
    """The answer that is stored under a key, as it is now."""
    detail = stored.detail
    if stored.state == "pending" and stored.heartbeat:
        now = datetime.now(UTC)
        beat = min(now, stored.silent_at or now)
        detail = detail | {"heartbeat_at": beat.isoformat(timespec="microseconds")}
    return Answer(
        result=stored.state,
        operation=stored.operation,
        key=stored.key,
        provider_id=stored.provider_id,
        reason=stored.reason,
        detail=detail,
    )


def status_of(stored: StoredRequest) -> int:
    """The HTTP status of the stored answer."""
    return stored.status if stored.state == "refused" else STATUS[stored.state]


class Provider:
    """Decides, from the declarations and from what is known. The caller commits the records."""

    def __init__(self, providers: Providers, store: Store) -> None:
        self._providers = providers
        self._store = store

    def decide(self, ask: Ask, then: Then) -> Decision:
        """What a request comes to, given what is scripted for it."""
        now = datetime.now(UTC)
        known = self._store.by_key(ask.operation, ask.key)
        if known and known.closed_by:
            # For ever, although keys are forgotten: an undo is about the thing itself, and
            # who asked for it relies on it however late the do arrives.
            answer = answer_of(known).model_copy(
                update={"result": "undone", "reason": f"undone by {known.closed_by}"}
            )
            return Decision("undone", answer, STATUS["undone"])
        if known and now < known.forgotten_at:
            if known.fingerprint != ask.fingerprint:
                return Decision("conflict", None, 422, why=CONFLICT)
            return Decision("replayed", answer_of(known), status_of(known))
        declared = self._providers.find(ask.operation) or Operation()
        ttl = declared.key_ttl if then.key_ttl is None else then.key_ttl
        stored = StoredRequest(
            n=len(self._store.requests) + 1,
            generation=known.generation + 1 if known else 1,
            operation=ask.operation,
            key=ask.key,
            instance=ask.instance,
            reference=ask.reference,
            fingerprint=ask.fingerprint,
            at=now,
            forgotten_at=now + timedelta(seconds=ttl),
            state="applied",
            undoes=ask.undoes,
            detail=ask.detail,
        )
        if ask.undoes is None:
            stored = stored.model_copy(update={"sets": _setting(declared, ask)})
            takes = wanted(declared.takes, ask.body)
            return self._do(stored, declared, declared.rule_for(ask.body), then, takes)
        # What is declared of an operation that is its own undo is about the do.
        own = declared.undo == ask.operation
        declared = Operation() if own else declared
        return self._undo(stored, ask.undoes, declared, declared.rule_for(ask.body), then)

    def _do(
        self,
        stored: StoredRequest,
        declared: Operation,
        rule: Rule,
        then: Then,
        takes: Mapping[Place, int],
    ) -> Decision:
        scripted = any((then.refuse, then.pending, then.key_ttl is not None))
        if then.pending:
            rule = rule.model_copy(update={"refuse": None, "pending": then.pending})
        if then.refuse or rule.refuse:
            return _refused(stored, rule, then, shaped=scripted)
        counters = self._store.counters
        if short := counters.short_of(takes, self._providers.counters):
            return _refused(stored, Rule(refuse=short), then, shaped=scripted)
        course = course_of(declared, rule)
        scripted = scripted or any(step.event.type in then.callbacks for step in course)
        stored = stored.model_copy(update={"provider_id": stored.issued_id})
        later = plans(stored, course, then.callbacks)
        if rule.pending:
            stored = _under_way(stored, rule.pending)
            return _decision(
                stored, *counters.opened(stored.n, takes, "held"), *later, shaped=scripted
            )
        records = self._store.carried_out(stored, stored.at)
        taken = counters.opened(stored.n, takes, "taken")
        return _decision(stored, *records, *taken, *later, shaped=scripted)

    def _undo(
        self, stored: StoredRequest, undoes: str, declared: Operation, rule: Rule, then: Then
    ) -> Decision:
        operation = self._providers.undone_by(stored.operation)
        assert operation is not None, "only a request for an undo says what it undoes"
        target = self._store.by_key(operation, undoes)
        if target and target.undoes is not None:
            # Only where an operation is its own undo do both have their keys in one place.
            return Decision("invalid", None, 422, why="what it undoes is an undo itself")
        scripted = any((then.refuse, then.key_ttl is not None))
        if then.refuse or rule.refuse:
            return _refused(stored, rule, then, shaped=scripted)
        standing = target if target and target.state == "applied" else None
        reason = standing.too_late_after if standing else None
        if then.too_late or reason:
            # Not stored, because nothing has changed: the key is as good as new.
            answer = answer_of(stored).model_copy(
                update={"result": "too_late", "reason": reason or "scripted"}
            )
            return Decision("too_late", answer, STATUS["too_late"], shaped=then.too_late)
        if standing is None:
            return self._close(stored, target or _never_seen(stored, operation, undoes), scripted)
        field = (self._providers.find(operation) or Operation()).part_field
        amount = stored.detail.get(field) if field else None
        if amount is not None and (type(amount) is not int or amount <= 0):
            return Decision("invalid", None, 422, why=f"{field} is not an integer above zero")
        rest = self._store.counters.rest(standing.n)
        if amount is not None and rest is not None and amount > rest:
            return _refused(stored, Rule(refuse=TOO_MUCH), then, shaped=scripted)
        part = Part(field=field, amount=amount) if field else None
        stored = stored.model_copy(update={"target": standing.n, "part": part})
        if pending := then.pending or rule.pending:
            scripted = scripted or then.pending is not None
            return self._promise(stored, standing, declared, pending, shaped=scripted)
        undo, records = give_back(self._store, stored, standing, stored.at)
        return _decision(undo, *records, shaped=scripted)

    def _close(self, stored: StoredRequest, target: StoredRequest, shaped: bool) -> Decision:
        """Nothing stands, and from now on nothing can: the key is closed."""
        closed = target.model_copy(update={"state": "undone", "closed_by": stored.key})
        stored = stored.model_copy(update={"state": "closed"})
        return _decision(stored, closed, *self._store.counters.release(target.n), shaped=shaped)

    def _promise(
        self,
        stored: StoredRequest,
        standing: StoredRequest,
        declared: Operation,
        pending: Pending,
        *,
        shaped: bool,
    ) -> Decision:
        """An undo that is settled later: it stands until then, and the key is closed already."""
        stored = _under_way(stored, pending).model_copy(update={"provider_id": stored.issued_id})
        later = plans(stored, course_of(declared, Rule(pending=pending)), {})
        closed = standing.model_copy(update={"closed_by": stored.key})
        return _decision(stored, closed, *later, shaped=shaped)


def _decision(stored: StoredRequest, *records: AnyRecord, shaped: bool) -> Decision:
    return Decision(stored.state, answer_of(stored), status_of(stored), (stored, *records), shaped)


def _refused(stored: StoredRequest, rule: Rule, then: Then, *, shaped: bool) -> Decision:
    # A declared status belongs to the declared reason.
    status = STATUS["refused"] if then.refuse else rule.status
    reason = then.refuse or rule.refuse
    refused = stored.model_copy(update={"state": "refused", "reason": reason, "status": status})
    return _decision(refused, shaped=shaped)


def _setting(declared: Operation, ask: Ask) -> Setting | None:
    fields = declared.sets
    if fields is None:
        return None
    return Setting(name=ask.body[fields.name], value=ask.body[fields.value])


def _under_way(stored: StoredRequest, pending: Pending) -> StoredRequest:
    silent = pending.silent_after
    silent_at = None if silent is None else stored.at + timedelta(seconds=silent)
    update = {"state": "pending", "heartbeat": pending.beats, "silent_at": silent_at}
    return stored.model_copy(update=update)


def _never_seen(undo: StoredRequest, operation: str, key: str) -> StoredRequest:
    """What an undo closes that comes before its do; the do's reference can only be guessed."""
    names = {"operation": operation, "key": key, "reference": key}
    return undo.model_copy(update={**names, "n": undo.n + 1, "undoes": None, "detail": {}})
