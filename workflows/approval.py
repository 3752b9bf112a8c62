"""An approval: notify, wait, escalate to the director, expire; the action runs once if approved.

Who may decide is checked where a decision comes in, not here; what arrives here has been admitted
to the inbox. The wait is a conditional row: a decision takes it or the deadline expires it, and
whoever asked was told which.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from workflows.definition import Version
from workflows.instance import Yields
from workflows.messages import Event, Message, RetryRule
from workflows.saga import Saga, Step

EXECUTE = Step("execute", "approval.execute")
TELL = Step("notify", "notifier.send")

HOUR = 3_600
EVENT = "approval_received"
# The two waits of one approval, in order: for anybody who may approve, then for the director alone.
FIRST, ESCALATED = f"{EVENT}/1", f"{EVENT}/2"


class Approval(Message):
    """What the workflow needs of an approval. Durations are seconds; `amount` in minor units."""

    id: str
    title: str
    requester: str
    action: str
    amount: int | None = None
    priority: str | None = None
    automatic: bool
    approvers: list[str]
    director: str
    escalate_after: float = 48 * HOUR
    expire_after: float = 72 * HOUR
    retry: RetryRule = Field(default_factory=RetryRule)


def approval(saga: Saga, request: Approval) -> Yields[str]:
    """Ends APPROVED with the action executed, REJECTED, TIMED_OUT, or CANCELLED."""
    decision: list[Event | None] = []

    def forward() -> Yields[None]:
        if not request.automatic:
            decision.append((yield from decided()))

    def decided() -> Yields[Event | None]:
        yield from ask("approvers", request.approvers)
        escalation = yield from saga.deadline("escalation", request.escalate_after)
        expiry = yield from saga.deadline("expiry", request.expire_after)
        event = yield from saga.wait_until(EVENT, min(escalation, expiry), (EVENT,))
        if event is None and escalation < expiry:
            yield from ask("director", [request.director])
            event = yield from saga.wait_until(EVENT, expiry, (EVENT,))
        return event

    def ask(whom: str, people: list[str]) -> Yields[None]:
        for number, person in enumerate(people, 1):
            letter = {"to": person, "template": "please_decide", "about": request.id}
            step = Step(f"notify_{whom}/{number}", "approval.ask", on_failure="ask")
            yield from saga.step(step, letter)

    outcome = yield from saga.run(forward)
    made = decision[0] if decision else None
    how = _how(request, made) if outcome.done else {"by": "nobody"}
    word = _word(request, made) if outcome.done else "CANCELLED"
    if word == "APPROVED":
        body: dict[str, Any] = {"action": request.action, "amount": request.amount}
        yield from saga.must(EXECUTE, body)
    letter = {"to": request.requester, "template": f"approval_{word.lower()}"}
    yield from saga.must(TELL, {**letter, **how})
    return (yield from saga.end(word, outcome.reason, how))


def _word(request: Approval, decision: Event | None) -> str:
    if request.automatic:
        return "APPROVED"
    if decision is None:
        return "TIMED_OUT"
    return "APPROVED" if decision.data.get("approved") is True else "REJECTED"


def _how(request: Approval, decision: Event | None) -> dict[str, Any]:
    """Who decided, and what they said: `the rule` where nobody was asked."""
    if request.automatic:
        return {"by": "the rule"}
    if decision is None:
        return {"by": "nobody"}
    said = {"by": decision.data.get("approver"), "comment": decision.data.get("comment")}
    return {name: value for name, value in said.items() if value}


V1 = Version("approval", "v1", approval, Approval)
