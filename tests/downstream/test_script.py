"""Faults on demand, and the proof that they fired."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.downstream.kit import Witness, in_process, until


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    async with in_process(tmp_path) as running:
        yield running


async def test_a_status_does_nothing(witness: Witness) -> None:
    await witness.script({"status": 503, "retry_after": 1}, times=2)
    response = await witness.charge()
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "result" not in response.json()
    assert (await witness.charge()).status_code == 503
    assert (await witness.charge()).status_code == 200
    assert await witness.attempts() == [
        "charge scripted-503",
        "charge scripted-503",
        "charge applied",
    ]
    assert await witness.fired() == [2]


async def test_attempts_are_counted_for_each_key(witness: Witness) -> None:
    await witness.script({"status": 500}, attempts=[2])
    for key in ("order-1/charge", "order-2/charge"):
        statuses = [(await witness.charge(key)).status_code for _ in range(3)]
        assert statuses == [200, 500, 200]
    assert await witness.fired() == [2]


async def test_the_first_matching_rule_wins(witness: Witness) -> None:
    await witness.script({"status": 500}, match={"operation": "inventory.reserve"})
    await witness.script({"status": 502}, match={"instance": "order-1"})
    await witness.script({"status": 504})
    assert (await witness.charge()).status_code == 502
    assert (await witness.charge("order-2/charge")).status_code == 504
    assert await witness.fired() == [0, 1, 1]


async def test_a_rule_that_changed_nothing_has_not_fired(witness: Witness) -> None:
    await witness.charge()
    await witness.script({"refuse": "closed_today"})
    await witness.script({"too_late": True})
    assert (await witness.charge()).json()["result"] == "applied"
    assert await witness.fired() == [0, 0]
    refused = await witness.charge("order-2/charge")
    assert (refused.status_code, refused.json()["reason"]) == (409, "closed_today")
    assert await witness.fired() == [1, 0]


async def test_commit_then_status_commits_once(witness: Witness) -> None:
    await witness.script({"commit_then_status": 500}, attempts=[1])
    assert (await witness.charge()).status_code == 500
    assert (await witness.charge()).json()["result"] == "applied"
    assert await witness.effects() == ["payment.charge"]
    assert await witness.responses() == ["scripted-500", "sent"]


async def test_pending_can_be_scripted_over_a_refusal(witness: Witness) -> None:
    await witness.script({"pending": {}})
    pending = await witness.charge(payment_method="pm-declined")
    assert (pending.status_code, pending.json()["result"]) == (202, "pending")


async def test_too_late_by_script_stores_nothing(witness: Witness) -> None:
    await witness.charge()
    await witness.script({"too_late": True}, match={"operation": "payment.refund"}, times=1)
    assert (await witness.refund()).json()["result"] == "too_late"
    assert (await witness.charge()).json()["result"] == "applied"
    assert (await witness.refund()).json()["result"] == "applied"


async def test_a_refused_undo_closes_nothing(witness: Witness) -> None:
    await witness.charge()
    await witness.script({"refuse": "account_closed"}, match={"operation": "payment.refund"})
    assert (await witness.refund()).json()["result"] == "refused"
    assert (await witness.charge()).json()["result"] == "applied"
    assert await witness.effects() == ["payment.charge"]


async def test_rules_are_removed(witness: Witness) -> None:
    first = await witness.script({"status": 500})
    await witness.script({"status": 502})
    assert (await witness.client.delete(f"/script/{first}")).status_code == 204
    assert (await witness.client.delete(f"/script/{first}")).status_code == 404
    assert (await witness.charge()).status_code == 502
    assert (await witness.client.delete("/script")).status_code == 204
    assert (await witness.charge()).status_code == 200


async def test_a_list_is_added_whole_or_not_at_all(witness: Witness) -> None:
    good: dict[str, Any] = {"then": {"status": 500}}
    bad = {"match": {"operation": "payment.steal"}, "then": {"drop": True}}
    assert (await witness.client.post("/script", json=[good, bad])).status_code == 422
    assert await witness.fired() == []
    response = await witness.client.post("/script", json=[good, good])
    assert (response.status_code, response.json()) == (201, [{"id": "rule-1"}, {"id": "rule-2"}])


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({}, "then"),
        ({"then": {}}, "no behaviour is given"),
        ({"then": {"sataus": 503}}, "sataus"),
        ({"then": {"status": 200}}, "greater than or equal to 400"),
        ({"then": {"status": 503, "drop": True}}, "ends in one way"),
        ({"then": {"hang": True, "refuse": "no"}}, "nothing is done"),
        ({"then": {"refuse": "no", "pending": {}}}, "at most one"),
        ({"then": {"retry_after": 1, "drop": True}}, "retry_after needs"),
        ({"match": {"key": ""}, "then": {"drop": True}}, "match.key"),
        ({"then": {"delay": -1}}, "greater than or equal to 0"),
        ({"then": {"hold": "after", "on_disconnect": "proceed"}}, "held before"),
        ({"times": 0, "then": {"drop": True}}, "times"),
        ({"then": {"callbacks": {"carrier.picked": {}}}}, "no such callback: carrier.picked"),
        ({"match": {"operation": "payment.charge"}, "then": {"too_late": True}}, "not an undo"),
        ({"then": {"status": 503, "locks": True}}, "takes its time"),
        ({"match": {"method": "GET"}, "then": {"drop": True}}, "an inquiry cannot meet drop"),
        (
            {"match": {"method": "GET"}, "attempts": [1], "then": {"status": 503}},
            "only requests are attempts",
        ),
        ({"match": {"method": "PUT"}, "then": {"status": 503}}, "match.method"),
        ([], "at least 1 item"),
        ("drop", "body"),
    ],
)
async def test_bad_scripts_say_why(witness: Witness, rule: object, complaint: str) -> None:
    response = await witness.client.post("/script", json=rule)
    assert response.status_code == 422
    assert complaint in response.json()["detail"]
    assert await witness.fired() == []


async def test_rules_for_an_instance_and_for_all_keep_their_order(witness: Witness) -> None:
    for number in range(300):
        await witness.script({"status": 500}, match={"instance": f"other-{number}"})
    await witness.script({"status": 501}, match={"instance": "order-1"}, times=1)
    await witness.script({"status": 502}, times=1)
    await witness.script({"status": 503}, match={"instance": "order-1"}, times=1)
    removed = await witness.script({"status": 504}, match={"instance": "order-1"})
    await witness.client.delete(f"/script/{removed}")
    assert [(await witness.charge()).status_code for _ in range(4)] == [501, 502, 503, 200]
    assert (await witness.charge("order-2/charge")).status_code == 200


async def test_a_release_with_rules_opens_the_door(witness: Witness) -> None:
    for instance in ("order-1", "order-2"):
        match = {"instance": instance}
        await witness.script({"hold": "both", "commit_then_status": 500}, match=match)
    first = asyncio.create_task(witness.charge())
    await until(witness.held)
    body = {"instance": "order-1", "rules": True}
    assert (await witness.client.post("/release", json=body)).json() == {"released": 1}
    # The rest of the rule stays, and what was held before its effect is not held after it.
    assert (await first).status_code == 500
    assert (await witness.charge()).status_code == 500
    other = asyncio.create_task(witness.charge("order-2/charge"))
    await until(witness.held)
    assert await witness.fired() == [2, 1]
    assert (await witness.client.post("/release", json={"rules": True})).json() == {"released": 1}
    assert (await other).status_code == 500


async def test_a_rule_that_only_held_is_nothing_after_its_release(witness: Witness) -> None:
    await witness.script({"hold": "before"})
    await witness.script({"status": 502})
    await witness.client.post("/release", json={"rules": True})
    assert (await witness.charge()).status_code == 502
    assert await witness.fired() == [0, 1]
