"""Do, replay, undo: the contract of an operation."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.downstream.kit import LINES, Witness, in_process


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    async with in_process(tmp_path) as running:
        yield running


def said(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["result"]


async def test_replay_returns_the_stored_answer_and_does_nothing(witness: Witness) -> None:
    first = await witness.charge()
    again = await witness.charge()
    assert said(first) == (200, "applied")
    assert first.json()["provider_id"] == "payment-000001"
    assert first.json()["detail"]["amount"] == 3998
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert await witness.attempts() == ["charge applied", "charge replayed"]
    assert await witness.effects() == ["payment.charge"]


async def test_many_at_once_under_one_key_have_one_effect(witness: Witness) -> None:
    answers = await asyncio.gather(*(witness.charge() for _ in range(20)))
    assert {said(answer) for answer in answers} == {(200, "applied")}
    assert len({answer.json()["provider_id"] for answer in answers}) == 1
    assert await witness.effects() == ["payment.charge"]


async def test_another_body_under_the_same_key_is_a_conflict(witness: Witness) -> None:
    await witness.charge(amount=1)
    conflict = await witness.charge(amount=2)
    assert conflict.status_code == 422
    assert conflict.headers["content-type"] == "application/problem+json"
    assert "result" not in conflict.json()
    assert await witness.attempts() == ["charge applied", "charge conflict"]
    assert await witness.effects() == ["payment.charge"]


async def test_key_order_in_the_body_does_not_matter(witness: Witness) -> None:
    fields = {"to": "c-17", "template": "x"}
    await witness.do("notifier.send", "order-1/notify", fields)
    again = await witness.do("notifier.send", "order-1/notify", dict(reversed(fields.items())))
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_undo_really_undoes_once_and_the_do_stays_undone(witness: Witness) -> None:
    await witness.charge()
    assert said(await witness.refund()) == (200, "applied")
    assert said(await witness.refund()) == (200, "applied")
    assert said(await witness.refund("order-1/refund-again")) == (200, "closed")
    assert said(await witness.charge()) == (409, "undone")
    assert await witness.effects() == ["payment.charge", "payment.refund"]
    ledger = (await witness.client.get("/ledger", params={"instance": "order-1"})).json()
    assert ledger["effects"][1]["undoes"] == "order-1/charge"
    assert ledger["effects"][1]["detail"]["amount"] == 3998
    assert await witness.attempts() == [
        "charge applied",
        "refund applied",
        "refund replayed",
        "refund closed",
        "charge undone",
    ]


async def test_an_undo_before_its_do_closes_the_key(witness: Witness) -> None:
    assert said(await witness.refund()) == (200, "closed")
    assert said(await witness.charge()) == (409, "undone")
    assert (await witness.look_up("payment.charge", "order-1/charge")).json()["result"] == "undone"
    assert await witness.effects() == []


async def test_a_refused_do_is_closed_too(witness: Witness) -> None:
    refused = await witness.charge(payment_method="pm-declined")
    assert said(refused) == (402, "refused")
    assert refused.json()["reason"] == "card_declined"
    assert said(await witness.charge(payment_method="pm-declined")) == (402, "refused")
    assert said(await witness.refund()) == (200, "closed")
    assert said(await witness.charge(payment_method="pm-declined")) == (409, "undone")
    assert await witness.effects() == []


async def test_declared_refusals_look_into_every_line(witness: Witness) -> None:
    lines = [*LINES, {"sku": "SKU-NONE", "quantity": 1}]
    no_stock = await witness.do("inventory.reserve", "order-1/reserve", {"lines": lines})
    assert said(no_stock) == (409, "refused")
    assert no_stock.json()["reason"] == "out_of_stock"
    assert (await witness.ship(country="ZZ")).json()["reason"] == "address_not_served"


async def test_forgotten_keys_act_again_but_lookup_remembers(witness: Witness) -> None:
    await witness.script({"key_ttl": 0}, match={"key": "order-1/charge"})
    assert said(await witness.charge()) == (200, "applied")
    assert said(await witness.charge()) == (200, "applied")
    assert await witness.effects() == ["payment.charge", "payment.charge"]
    found = await witness.look_up("payment.charge", "order-1/charge")
    assert said(found) == (200, "applied")
    assert found.json()["provider_id"] == "payment-000002"


async def test_a_closed_key_is_never_forgotten(witness: Witness) -> None:
    await witness.script({"key_ttl": 0})
    await witness.charge()
    await witness.refund()
    assert said(await witness.charge()) == (409, "undone")
    assert said(await witness.refund()) == (200, "closed")
    assert await witness.effects() == ["payment.charge", "payment.refund"]


async def test_lookup_of_the_unknown(witness: Witness) -> None:
    assert (await witness.look_up("payment.charge", "order-1/charge")).status_code == 404
    assert (await witness.look_up("payment.nothing", "order-1/charge")).status_code == 404
    assert (await witness.look_up("payment.charge", "")).status_code == 422


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"amount": 0}, "amount is not an integer above zero"),
        ({"amount": True}, "amount is not an integer above zero"),
        ({"customer": ""}, "customer is not a non-empty string"),
        ({"reference": 7}, "reference is not a non-empty string"),
        ({"instance": "x" * 300}, "instance is too long"),
    ],
)
async def test_wrong_fields(witness: Witness, fields: dict[str, Any], complaint: str) -> None:
    response = await witness.charge(**fields)
    assert (response.status_code, response.json()["detail"]) == (422, complaint)


async def test_missing_fields(witness: Witness) -> None:
    response = await witness.do(
        "inventory.reserve", "order-1/reserve", {"lines": [{"sku": "SKU-1"}]}
    )
    assert response.json()["detail"] == "lines[].quantity is missing"
    response = await witness.do("payment.refund", "order-1/refund")
    assert response.json()["detail"] == "undoes is missing"
    assert await witness.attempts() == ["reserve invalid", "refund invalid"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{}"),
        ({"Idempotency-Key": "with space"}, b"{}"),
        ({"Idempotency-Key": "k" * 256}, b"{}"),
        ({"Idempotency-Key": "k"}, b"["),
        ({"Idempotency-Key": "k"}, b"[]"),
        ({"Idempotency-Key": "k"}, b'{"amount": NaN}'),
        ({"Idempotency-Key": "k"}, b'{"amount": 1e999}'),
        ({"Idempotency-Key": "k"}, b'{"instance": "\\ud800"}'),
        ({"Idempotency-Key": "k"}, b"\xff"),
        ({"Idempotency-Key": "k"}, b"[" * 100_000),
    ],
)
async def test_malformed(witness: Witness, headers: dict[str, str], body: bytes) -> None:
    response = await witness.client.post("/payment/charge", content=body, headers=headers)
    assert response.status_code == 400
    attempts = (await witness.client.get("/ledger")).json()["attempts"]
    assert [attempt["result"] for attempt in attempts] == ["malformed"]


async def test_unknown_operations_leave_no_trace(witness: Witness) -> None:
    assert (await witness.do("payment.steal", "order-1/steal")).status_code == 404
    assert (await witness.client.get("/ledger")).json() == {"attempts": [], "effects": []}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["instance", "reference", "undoes", "anything"])


@given(
    st.dictionaries(NAMES, st.text() | JSON),
    st.sampled_from(["signing/send", "signing/void", "notifier/send"]),
)
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_no_body_makes_a_500(witness: Witness, body: object, operation: str) -> None:
    response = await witness.client.post(
        f"/{operation}", content=json.dumps(body), headers={"Idempotency-Key": "k"}
    )
    assert response.status_code in (200, 400, 409, 422)
    assert (await witness.client.get("/ledger")).status_code == 200
