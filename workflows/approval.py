"""An approval: notify, wait, escalate to the director, expire; the action runs once if approved.

Who may decide is checked where a decision comes in, not here; what arrives here has been admitted
to the inbox. The wait is a conditional row: a decision takes it or the deadline expires it, and
whoever asked was told which.
"""

from __future__ import annotations

from typing import Any

from dapr.ext.workflow import DaprWorkflowContext
from pydantic import Field

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


def approval(ctx: DaprWorkflowContext, request: Approval) -> Yields[str]:
    """Ends APPROVED with the action executed, REJECTED, TIMED_OUT, or CANCELLED."""
    saga = Saga(ctx, request.id, (), request.retry)
    beginning = yield from saga.begin()
    if not beginning.proceed:
        return beginning.outcome or "NOT_ACCEPTED"
    decision: list[Event | None] = []

    def forward() -> Yields[None]:
        decision.append((yield from decided()))

    def decided() -> Yields[Event | None]:
        yield from ask("approvers", request.approvers)
        escalation = yield from saga.deadline("escalation", request.escalate_after)
        expiry = yield from saga.deadline("expiry", request.expire_after)
        event = yield from saga.wait_until(EVENT, min(escalation, expiry))
        if event is None and escalation < expiry:
            yield from ask("director", [request.director])
            event = yield from saga.wait_until(EVENT, expiry)
        return event

    def ask(whom: str, people: list[str]) -> Yields[None]:
        for number, person in enumerate(people, 1):
            letter = {"to": person, "template": "please_decide", "about": request.id}
            step = Step(f"notify_{whom}/{number}", "approval.ask", on_failure="ask")
            yield from saga.step(step, letter)

    word = "APPROVED"
    if not request.automatic:
        outcome = yield from saga.run(forward)
        word = _word(decision[0] if outcome.done else None, cancelled=not outcome.done)
    if word == "APPROVED":
        body: dict[str, Any] = {"action": request.action, "amount": request.amount}
        yield from saga.must(EXECUTE, body)
    yield from saga.must(TELL, {"to": request.requester, "template": f"approval_{word.lower()}"})
    return (yield from saga.end(word))


def _word(decision: Event | None, *, cancelled: bool) -> str:
    if cancelled:
        return "CANCELLED"
    if decision is None:
        return "TIMED_OUT"
    return "APPROVED" if decision.data.get("approved") is True else "REJECTED"
