"""The protocol: what a request comes to. No I/O; a decision is a list of facts to be committed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from downstream.config import Operation, Pending, Providers, Rule
from downstream.counters import Place, wanted
from downstream.events import course_of, plans
from downstream.facts import AnyFact, Deed, Part, Result, Setting
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
    """The provider's word on a request."""

    result: Result
    operation: str
    key: str
    provider_id: str | None = None
    reason: str | None = None
    detail: dict[str, Any] = {}


@dataclass(frozen=True)
class Decision:
    """What a request came to: `result` in the ledger's words, and the facts to be committed.

    There is no answer to a key that was used before with another body, nor to what would undo an
    undo or give back no amount; `why` says so. `shaped` says whether the script had a part in the
    decision.
    """

    result: str
    answer: Answer | None
    status: int
    facts: tuple[AnyFact, ...] = ()
    shaped: bool = False
    why: str = ""


def answer_of(deed: Deed) -> Answer:
    """The answer that is stored under a key, as it is now."""
    detail = deed.detail
    if deed.state == "pending" and deed.heartbeat:
        now = datetime.now(UTC)
        beat = min(now, deed.silent_at or now)
        detail = detail | {"heartbeat_at": beat.isoformat(timespec="microseconds")}
    return Answer(
        result=deed.state,
        operation=deed.operation,
        key=deed.key,
        provider_id=deed.provider_id,
        reason=deed.reason,
        detail=detail,
    )


def status_of(deed: Deed) -> int:
    """The HTTP status of the stored answer."""
    return deed.status if deed.state == "refused" else STATUS[deed.state]


class Provider:
    """Decides, from the declarations and from what is known. Whoever asks commits the facts."""

    def __init__(self, providers: Providers, store: Store) -> None:
        self._providers = providers
        self._store = store

    def decide(self, ask: Ask, then: Then) -> Decision:
        """What a request comes to, given what is scripted for it."""
        now = datetime.now(UTC)
        known = self._store.by_key(ask.operation, ask.key)
        if known and known.closed_by:
            # For ever, although keys are forgotten: an undo is about the thing itself, and
            # whoever asked for it relies on it however late the do arrives.
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
        deed = Deed(
            n=len(self._store.deeds) + 1,
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
            deed = deed.model_copy(update={"sets": _setting(declared, ask)})
            takes = wanted(declared.takes, ask.body)
            return self._do(deed, declared, declared.rule_for(ask.body), then, takes)
        # What is declared of an operation that is its own undo is about the do.
        own = declared.undo == ask.operation
        declared = Operation() if own else declared
        return self._undo(deed, ask.undoes, declared, declared.rule_for(ask.body), then)

    def _do(
        self, deed: Deed, declared: Operation, rule: Rule, then: Then, takes: Mapping[Place, int]
    ) -> Decision:
        scripted = any((then.refuse, then.pending, then.key_ttl is not None))
        if then.pending:
            rule = rule.model_copy(update={"refuse": None, "pending": then.pending})
        if then.refuse or rule.refuse:
            return _refused(deed, rule, then, shaped=scripted)
        counters = self._store.counters
        if short := counters.short_of(takes, self._providers.counters):
            return _refused(deed, Rule(refuse=short), then, shaped=scripted)
        course = course_of(declared, rule)
        scripted = scripted or any(step.event.type in then.callbacks for step in course)
        deed = deed.model_copy(update={"provider_id": deed.issued_id})
        later = plans(deed, course, then.callbacks)
        if rule.pending:
            deed = _under_way(deed, rule.pending)
            return _decision(deed, *counters.opened(deed.n, takes, "held"), *later, shaped=scripted)
        facts = self._store.carried_out(deed, deed.at)
        taken = counters.opened(deed.n, takes, "taken")
        return _decision(deed, *facts, *taken, *later, shaped=scripted)

    def _undo(
        self, deed: Deed, undoes: str, declared: Operation, rule: Rule, then: Then
    ) -> Decision:
        operation = self._providers.undone_by(deed.operation)
        assert operation is not None, "only a request for an undo says what it undoes"
        target = self._store.by_key(operation, undoes)
        if target and target.undoes is not None:
            # Only where an operation is its own undo do both have their keys in one place.
            return Decision("invalid", None, 422, why="what it undoes is an undo itself")
        scripted = any((then.refuse, then.key_ttl is not None))
        if then.refuse or rule.refuse:
            return _refused(deed, rule, then, shaped=scripted)
        standing = target if target and target.state == "applied" else None
        reason = standing.too_late_after if standing else None
        if then.too_late or reason:
            # Not stored, because nothing has changed: the key is as good as new.
            answer = answer_of(deed).model_copy(
                update={"result": "too_late", "reason": reason or "scripted"}
            )
            return Decision("too_late", answer, STATUS["too_late"], shaped=then.too_late)
        if standing is None:
            return self._close(deed, target or _never_seen(deed, operation, undoes), scripted)
        field = (self._providers.find(operation) or Operation()).part_field
        amount = deed.detail.get(field) if field else None
        if amount is not None and (type(amount) is not int or amount <= 0):
            return Decision("invalid", None, 422, why=f"{field} is not an integer above zero")
        rest = self._store.counters.rest(standing.n)
        if amount is not None and rest is not None and amount > rest:
            return _refused(deed, Rule(refuse=TOO_MUCH), then, shaped=scripted)
        part = Part(field=field, amount=amount) if field else None
        deed = deed.model_copy(update={"target": standing.n, "part": part})
        if pending := then.pending or rule.pending:
            scripted = scripted or then.pending is not None
            return self._promise(deed, standing, declared, pending, shaped=scripted)
        undo, facts = give_back(self._store, deed, standing, deed.at)
        return _decision(undo, *facts, shaped=scripted)

    def _close(self, deed: Deed, target: Deed, shaped: bool) -> Decision:
        """Nothing stands; but nothing shall, from now on."""
        closed = target.model_copy(update={"state": "undone", "closed_by": deed.key})
        deed = deed.model_copy(update={"state": "closed"})
        return _decision(deed, closed, *self._store.counters.let_go(target.n), shaped=shaped)

    def _promise(
        self, deed: Deed, standing: Deed, declared: Operation, pending: Pending, *, shaped: bool
    ) -> Decision:
        """An undo that is settled later: it stands until then, and the key is closed already."""
        deed = _under_way(deed, pending).model_copy(update={"provider_id": deed.issued_id})
        later = plans(deed, course_of(declared, Rule(pending=pending)), {})
        closed = standing.model_copy(update={"closed_by": deed.key})
        return _decision(deed, closed, *later, shaped=shaped)


def _decision(deed: Deed, *facts: AnyFact, shaped: bool) -> Decision:
    return Decision(deed.state, answer_of(deed), status_of(deed), (deed, *facts), shaped)


def _refused(deed: Deed, rule: Rule, then: Then, *, shaped: bool) -> Decision:
    # A declared status belongs to the declared reason.
    status = STATUS["refused"] if then.refuse else rule.status
    reason = then.refuse or rule.refuse
    refused = deed.model_copy(update={"state": "refused", "reason": reason, "status": status})
    return _decision(refused, shaped=shaped)


def _setting(declared: Operation, ask: Ask) -> Setting | None:
    fields = declared.sets
    if fields is None:
        return None
    return Setting(name=ask.body[fields.name], value=ask.body[fields.value])


def _under_way(deed: Deed, pending: Pending) -> Deed:
    silent = pending.silent_after
    silent_at = None if silent is None else deed.at + timedelta(seconds=silent)
    update = {"state": "pending", "heartbeat": pending.beats, "silent_at": silent_at}
    return deed.model_copy(update=update)


def _never_seen(undo: Deed, operation: str, key: str) -> Deed:
    """What an undo closes that comes before its do; the do's reference can only be guessed."""
    names = {"operation": operation, "key": key, "reference": key}
    return undo.model_copy(update={**names, "n": undo.n + 1, "undoes": None, "detail": {}})
