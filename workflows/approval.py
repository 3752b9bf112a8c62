"""An approval: notify, wait, escalate to the director, expire; the action runs once if approved.

Who may decide is checked where a decision comes in, not here; what arrives here has been admitted
to the inbox. The wait is a conditional row: a decision takes it or the deadline expires it, and
whoever asked was told which.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workflows.definition import Acceptance, Workflow
from workflows.inputs import HOUR, Amount, Input, Phrase, Timeout, Word
from workflows.instance import End, Yields
from workflows.messages import Event
from workflows.saga import Saga
from workflows.steps import Step

ASK = Step("notify", "approval.ask", on_failure="ask")
EXECUTE = Step("execute", "approval.execute")
TELL = Step("notify", "notifier.send")

EVENT = "approval_received"
# The two waits of one approval, in order: for anybody who may approve, then for the director alone.
FIRST, ESCALATED = f"{EVENT}/1", f"{EVENT}/2"


class Rules(BaseModel):
    """The server's rules for approvals; amounts in minor units.

    An amount decides, because it is what is executed. Only an action that these rules call free
    of amounts may go by its priority; one that they always ask about goes by neither.
    """

    model_config = ConfigDict(extra="forbid")

    automatic_below: int = Field(default=100_000, ge=0)
    automatic_priorities: tuple[str, ...] = ("low",)
    amount_free: tuple[str, ...] = ()
    always_asked: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ("approver",)
    director: str = "director"

    def automatic(self, action: str, amount: int | None, priority: str | None) -> bool:
        """Whether an action is approved without a person."""
        if action in self.always_asked:
            return False
        if action in self.amount_free:
            return amount is None and priority in self.automatic_priorities
        return amount is not None and amount < self.automatic_below


class ApprovalRequest(Input):
    """Something to be approved; `amount` in minor units. Durations are seconds."""

    title: Phrase
    action: Word
    amount: Amount | None = None
    priority: Word | None = None
    escalate_after: Timeout = 48 * HOUR
    expire_after: Timeout = 72 * HOUR


class Approval(ApprovalRequest):
    """What was asked for, by whom, and what the server's rules made of it then."""

    requester: str
    automatic: bool
    approvers: list[str]
    director: str


AUTOMATIC = {
    "who": "the server's rules",
    "via": "rules",
    "what": "approve",
    "verdict": "automatic",
    "event_id": None,
}


def _accept(request: ApprovalRequest, subject: str, rules: Rules) -> Acceptance:
    """Fixes the rules at acceptance: a change of them does not reach what is under way."""
    automatic = rules.automatic(request.action, request.amount, request.priority)
    fixed = {
        "requester": subject,
        "automatic": automatic,
        "approvers": list(rules.approvers),
        "director": rules.director,
    }
    return Acceptance(fixed, asked_by=subject, audit=AUTOMATIC if automatic else None)


def approval(saga: Saga, request: Approval) -> Yields[End]:
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
            letter = {"to": person, "template": "please_decide", "about": saga.id}
            yield from saga.step(replace(ASK, name=f"notify_{whom}/{number}"), letter)

    outcome = yield from saga.run(forward)
    made = decision[0] if decision else None
    how = _how(request, made) if outcome.done else {"by": "nobody"}
    word = _word(request, made) if outcome.done else "CANCELLED"
    if word == "APPROVED":
        body: dict[str, Any] = {"action": request.action, "amount": request.amount}
        yield from saga.must(EXECUTE, body)
    letter = {"to": request.requester, "template": f"approval_{word.lower()}"}
    yield from saga.must(TELL, {**letter, **how})
    return End(word, outcome.reason, how)


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


V1 = Workflow(
    kind="approval",
    version="v1",
    path="/approvals",
    input=Approval,
    request=ApprovalRequest,
    accept=_accept,
    rules=Rules,
    body=approval,
    others=(ASK, EXECUTE, TELL),
    done={"APPROVED"},
    undone={"REJECTED", "TIMED_OUT", "CANCELLED"},
)
