"""An outcome says why: which step failed and how, who decided and in which words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from activities.decisions import Decision, decide
from tests.support.sagas import deployment, task
from tests.support.shop import order
from tests.support.world import World, world

ID = "instance-1"
QUICK = {"attempts": 2, "first": 0.1, "cap": 0.2, "undo_for": 0}
APPROVAL: dict[str, Any] = {
    "title": "a press",
    "requester": "r-1",
    "action": "buy",
    "amount": 5_000_000,
    "automatic": False,
    "approvers": ["a-1"],
    "director": "d-1",
    "escalate_after": 48 * 3600,
    "expire_after": 72 * 3600,
}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def ended(place: World, kind: str, input: dict[str, Any]) -> tuple[str, str | None]:
    given = {**input, "id": ID, "retry": QUICK}
    await place.accept(kind, ID, given)
    await place.run(kind, ID, given).advance()
    record = await place.record(ID)
    return record["outcome"], record["reason"]


@pytest.mark.parametrize(
    ("kind", "input", "step", "reply", "outcome", "reason"),
    [
        ("order_fulfilment", order(ID), "charge", "refused", "REFUSED", "said refused"),
        (
            "order_fulfilment",
            order(ID),
            "reserve",
            ConnectionError("the line is dead"),
            "COMPENSATED",
            "reserve exhausted: inventory.reserve: ConnectError: the line is dead",
        ),
        (
            "task_processing",
            {**task(ID), "effort": 1},
            "notify",
            "rejected",
            "COMPENSATED",
            "notify rejected: said rejected",
        ),
        (
            "model_deployment",
            deployment(ID),
            "check_canary",
            "refused",
            "ROLLED_BACK",
            "said refused",
        ),
    ],
)
async def test_a_saga_that_failed_says_what_failed(
    place: World, kind: str, input: dict[str, Any], step: str, reply: Any, outcome: str, reason: str
) -> None:
    place.replies[f"{ID}/{step}"] = [reply]
    assert await ended(place, kind, input) == (outcome, reason)


async def test_a_deadline_is_named(place: World) -> None:
    why = ("COMPENSATED", "picking deadline passed")
    assert await ended(place, "order_fulfilment", order(ID)) == why


async def test_what_was_done_all_the_same_says_why(place: World) -> None:
    place.replies[f"{ID}/cancel_shipment"] = ["too_late"]
    why = ("FULFILLED", "too late to undo create_shipment (picking deadline passed)")
    assert await ended(place, "order_fulfilment", order(ID)) == why


@pytest.mark.parametrize(
    ("input", "approved", "comment", "how"),
    [
        ({}, True, "", {"by": "a-1"}),
        ({}, False, "too dear", {"by": "a-1", "comment": "too dear"}),
        ({}, None, "", {"by": "nobody"}),
        ({"automatic": True}, None, "", {"by": "the rule"}),
    ],
)
async def test_the_result_and_the_letter_name_who_decided_and_why(
    place: World,
    input: dict[str, Any],
    approved: bool | None,
    comment: str,
    how: dict[str, str],
) -> None:
    given = {**APPROVAL, **input, "id": ID}
    await place.accept("approval", ID, given)
    run = await place.run("approval", ID, given).advance(timers=False)
    if approved is not None:
        decision = Decision(
            instance=ID,
            event_id="e-1",
            approved=approved,
            approver="a-1",
            roles=frozenset({"approver"}),
            comment=comment,
        )
        async with place.store.transaction() as tx:
            assert await decide(tx, decision) == "accepted"
        run.raise_event("approval_received")
    await run.advance()
    assert (await place.record(ID))["detail"] == how
    (letter,) = [
        message["body"] for _, message in run.calls if message.get("key") == f"{ID}/notify"
    ]
    assert letter == {"to": "r-1", "template": f"approval_{run.output.lower()}", **how}
