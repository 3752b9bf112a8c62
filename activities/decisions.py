"""Decisions on approvals: who may make one, what it does, and the trail that it leaves.

Three ways in (the API, a signed link, a signed event raised past the API), one gate: `decide`. It
claims the wait, which is what the deadline claims too, so its answer is the truth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.signatures import Signed, decoded
from store import audit_trail, inbox, interventions, records
from workflows.approval import ESCALATED, EVENT, FIRST, V1
from workflows.messages import Wait

Via = Literal["api", "link", "event"]


class SignedDecision(Signed):
    """A decision that carries its own proof, for events raised with the Dapr CLI."""

    approved: bool
    approver: str = Field(min_length=1, max_length=100)
    role: Literal["approver", "director"]
    event_id: str = Field(min_length=1, max_length=100)

    def content(self) -> list[Any]:
        """What is signed."""
        return [self.approved, self.approver, self.role, self.event_id]


@dataclass(frozen=True)
class Decision:
    """Somebody's decision, after whoever it is was verified."""

    instance: str
    event_id: str
    approved: bool
    approver: str
    roles: frozenset[str]
    comment: str = ""
    via: Via = "api"


Verdict = Literal["accepted", "repeated", "unknown", "role", "own", "director", "late", "decided"]

REASONS: dict[Verdict, str] = {
    "unknown": "no such approval",
    "role": "it needs the role approver or director",
    "own": "nobody decides on a request of their own",
    "director": "it was escalated: the director alone decides now",
    "late": "too late: it has ended",
    "decided": "it was decided before; the audit of the approval says by whom",
}


async def decide(tx: AsyncConnection, decision: Decision) -> Verdict:
    """Admits a decision, or says why not; either way it is in the trail.

    Raises:
        Conflict: the event id was used for another decision.
    """
    verdict = await _judge(tx, decision)
    if verdict == "accepted":
        await inbox.keep(
            tx,
            instance=decision.instance,
            event_id=decision.event_id,
            name=EVENT,
            type=EVENT,
            data={
                "approved": decision.approved,
                "approver": decision.approver,
                "comment": decision.comment,
            },
        )
        await inbox.claim_open(tx, decision.instance, EVENT, decision.event_id)
        # It was answered, and stands: a cancel is too late from here.
        await records.pass_pivot(tx, decision.instance)
    note = audit_trail.write if verdict == "accepted" else audit_trail.refuse
    await note(
        tx,
        instance=decision.instance,
        who=decision.approver,
        via=decision.via,
        what="approve" if decision.approved else "reject",
        verdict=verdict,
        event_id=decision.event_id,
    )
    return verdict


async def _judge(tx: AsyncConnection, decision: Decision) -> Verdict:
    record = await records.get(tx, decision.instance, lock=True)
    if record is None or record["kind"] != V1.kind:
        return "unknown"
    if not decision.roles & {"approver", "director"}:
        return "role"
    if decision.approver == record["input"]["requester"]:
        return "own"
    kept = await inbox.named(tx, decision.instance, EVENT)
    if any(row["event_id"] == decision.event_id for row in kept):
        return _repeated(kept, decision)
    waits = await inbox.waits_of(tx, decision.instance, EVENT)
    over = record["state"] == "ended" or waits.get(ESCALATED) == "expired"
    if over or await records.cancelled(tx, record):
        return "decided" if kept else "late"
    if kept or record["input"]["automatic"]:
        return "decided"
    escalates = record["input"]["escalate_after"] < record["input"]["expire_after"]
    if waits.get(FIRST) == "expired":
        if not escalates:
            return "late"
        if "director" not in decision.roles:
            return "director"
    return "accepted"


def _repeated(kept: list[Any], decision: Decision) -> Verdict:
    same = next(row for row in kept if row["event_id"] == decision.event_id)
    if (
        same["data"]["approved"] != decision.approved
        or same["data"]["approver"] != decision.approver
    ):
        raise records.Conflict(f"event id {decision.event_id!r} was used for another decision")
    # Only the API's caller can have missed the first answer; a link or an event is a replay.
    return "repeated" if decision.via == "api" else "decided"


async def admit_raised(tx: AsyncConnection, key: str, wait: Wait) -> None:
    """Judges an event that was raised past the API: it counts only with a good signature.

    Anything else leaves the approval waiting, is kept in the trail, and alerts somebody: once for
    each thing that can be wrong, until that was answered. The same event judged again, because its
    activity was run again, changes nothing.
    """
    instance, raised = wait.instance, decoded(wait.raised)
    waits = await inbox.waits_of(tx, instance, EVENT)
    if waits.get(wait.token) in ("claimed", "taken"):
        return
    signed, flaw = _verified(key, instance, raised)
    if signed is not None and flaw is None:
        decision = Decision(
            instance=instance,
            event_id=signed.event_id,
            approved=signed.approved,
            approver=signed.approver,
            roles=frozenset({signed.role}),
            via="event",
        )
        verdict = await decide(tx, decision)
        if verdict == "accepted":
            return
        flaw = REASONS.get(verdict, verdict)
    # The same in every run of this very turn; raised twice it is two events.
    moment = wait.at.isoformat() if wait.at else None
    mark = records.content_hash([raised, moment])[:16]
    who = signed.approver if signed else "unknown"
    await _refuse(tx, instance, who=who, flaw=flaw or "", event_id=mark)


async def _refuse(
    tx: AsyncConnection, instance: str, *, who: str, flaw: str, event_id: str
) -> None:
    verdict = f"refused: {flaw}"
    await records.get(tx, instance, lock=True)
    if await audit_trail.has(tx, instance, event_id):
        return
    # Told of, be there room in the trail or not: whoever filled it silences nobody.
    await audit_trail.refuse(
        tx,
        instance=instance,
        who=who,
        via="event",
        what="raise",
        verdict=verdict,
        event_id=event_id,
    )
    key = f"{instance}/refused-{re.sub('[^a-z]+', '-', flaw.lower())}"
    reason = f"an event that was raised past the API was {verdict}"
    if not await interventions.ask_once(tx, instance, key, "forged", reason):
        asked = await interventions.latest(tx, key)
        times = await audit_trail.count(tx, instance, verdict)
        if asked is not None:
            await interventions.reword(tx, asked["id"], f"{reason} ({times} times)")


def _verified(key: str, instance: str, raised: Any) -> tuple[SignedDecision | None, str | None]:
    """What a raised event claims, and what is wrong with it."""
    try:
        signed = SignedDecision.model_validate(raised)
    except ValidationError:
        return None, "it carries no signed decision"
    return signed, signed.flaw(key, instance)
