"""Look-ups and listings: what they tell, and the faults that they meet."""

import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.downstream.kit import LETTER, TRAINING, Witness, in_process, process, receiver


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    async with in_process(tmp_path) as running:
        yield running


def brief(page: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(each["key"], each["result"], each["undone_by"]) for each in page["items"]]


async def test_a_listing_has_every_request_oldest_first(witness: Witness) -> None:
    await witness.charge()
    await witness.charge("order-2/charge", payment_method="pm-declined")
    await witness.charge("order-3/charge", payment_method="pm-never")
    await witness.charge("order-4/charge")
    await witness.charge("order-4/charge")
    await witness.refund()
    await witness.refund("order-5/refund", "order-5/charge")
    page = await witness.listing("payment.charge")
    assert page["next"] is None
    assert brief(page) == [
        ("order-1/charge", "undone", "order-1/refund"),
        ("order-2/charge", "refused", None),
        ("order-3/charge", "pending", None),
        ("order-4/charge", "applied", None),
        ("order-5/charge", "undone", "order-5/refund"),
    ]
    at = page["items"][0].pop("at")
    assert datetime.fromisoformat(at).utcoffset() == timedelta(0)
    assert page["items"][0] == {
        "reference": "order-1/charge",
        "key": "order-1/charge",
        "instance": "order-1",
        "provider_id": "payment-000001",
        "result": "undone",
        "undoes": None,
        "undone_by": "order-1/refund",
        "detail": {
            "amount": 3998,
            "currency": "EUR",
            "payment_method": "pm-ok",
            "customer": "c-17",
        },
    }
    assert page["items"][4]["detail"] == {}


async def test_undos_are_listed_too(witness: Witness) -> None:
    await witness.charge()
    await witness.refund()
    await witness.refund("order-2/refund", "order-2/charge")
    page = await witness.listing("payment.refund")
    assert brief(page) == [("order-1/refund", "applied", None), ("order-2/refund", "closed", None)]
    assert [each["undoes"] for each in page["items"]] == ["order-1/charge", "order-2/charge"]
    await witness.do("notifier.send", "task-1/notify", LETTER)
    await witness.do("notifier.send", "task-1/cancel", {"undoes": "task-1/notify"})
    page = await witness.listing("notifier.send")
    assert brief(page) == [
        ("task-1/notify", "undone", "task-1/cancel"),
        ("task-1/cancel", "applied", None),
    ]
    assert [each["undoes"] for each in page["items"]] == [None, "task-1/notify"]


async def test_a_forgotten_key_is_listed_twice(witness: Witness) -> None:
    await witness.script({"key_ttl": 0})
    await witness.charge()
    await witness.charge()
    items = (await witness.listing("payment.charge"))["items"]
    assert [each["provider_id"] for each in items] == ["payment-000001", "payment-000002"]


async def test_a_late_capture_stands(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            change = {"after": 0.1, "despite_undo": True}
            await witness.script({"callbacks": {"payment.captured": change}})
            await witness.charge(payment_method="pm-pending")
            await witness.refund()
            await there.hears(1)
            page = await witness.listing("payment.charge")
            assert brief(page) == [("order-1/charge", "applied", None)]


async def test_a_listing_goes_on_where_it_ended(witness: Witness) -> None:
    keys = [f"order-{n}/notify" for n in range(5)]
    for key in keys[:4]:
        await witness.do("notifier.send", key, LETTER)
        await witness.charge(key)
    first = await witness.listing("notifier.send", limit=2)
    assert [each["key"] for each in first["items"]] == keys[:2]
    rest = await witness.listing("notifier.send", limit=2, after=first["next"])
    assert [each["key"] for each in rest["items"]] == keys[2:4]
    assert rest["next"] is None
    # What happens meanwhile is neither missed nor moves what was shown.
    await witness.do("notifier.send", keys[4], LETTER)
    rest = await witness.listing("notifier.send", after=first["next"])
    assert [each["key"] for each in rest["items"]] == keys[2:]
    since = rest["items"][1]["at"]
    late = await witness.listing("notifier.send", since=since, limit=1)
    assert [each["key"] for each in late["items"]] == keys[3:4]
    late = await witness.listing("notifier.send", since=since, limit=1, after=late["next"])
    assert ([each["key"] for each in late["items"]], late["next"]) == (keys[4:], None)


async def test_a_listing_survives_a_restart(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        await witness.charge()
        await witness.refund()
        before = [await witness.listing(f"payment.{each}") for each in ("charge", "refund")]
    async with in_process(tmp_path) as witness:
        after = [await witness.listing(f"payment.{each}") for each in ("charge", "refund")]
    assert after == before


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "x"},
        {"after": "-1"},
        {"after": "order-1"},
        {"after": "9" * 30},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "9" * 400},
        {"reference": ""},
    ],
)
async def test_wrong_queries(witness: Witness, query: dict[str, str]) -> None:
    response = await witness.client.get("/payment/charge", params=query)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


async def test_nothing_is_listed_of_nothing(witness: Witness) -> None:
    assert await witness.listing("payment.charge") == {"items": [], "next": None}
    assert await witness.listing("payment.charge", since="0001-01-01T00:00:00+23:59")
    assert (await witness.client.get("/payment/steal")).status_code == 404


async def test_a_status_meets_the_inquiries_that_match(witness: Witness) -> None:
    await witness.charge()
    await witness.charge("order-2/charge")
    rules: list[dict[str, str]] = [{"key": "order-1/charge"}, {"instance": "order-2"}]
    for match in rules:
        await witness.script({"status": 503, "retry_after": 1}, match={**match, "method": "GET"})
    for reference in ("order-1/charge", "order-2/charge"):
        response = await witness.look_up("payment.charge", reference)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    # Neither a listing, nor what nobody has heard of, has an instance or a key.
    assert (await witness.look_up("payment.charge", "order-3/charge")).status_code == 404
    assert (await witness.listing("payment.charge"))["items"]
    # And requests are not meant.
    assert (await witness.charge()).headers["Idempotent-Replayed"] == "true"
    assert await witness.fired() == [1, 1]


async def test_a_listing_meets_rules_for_its_operation(witness: Witness) -> None:
    match = {"operation": "payment.charge", "method": "GET"}
    await witness.script({"status": 500}, match=match, times=2)
    assert (await witness.client.get("/payment/charge")).status_code == 500
    assert (await witness.look_up("payment.charge", "order-1/charge")).status_code == 500
    assert (await witness.client.get("/payment/charge")).status_code == 200
    assert (await witness.client.get("/payment/refund")).status_code == 200
    assert await witness.fired() == [2]
    assert (await witness.client.get("/ledger")).json() == {"attempts": [], "effects": []}


async def test_rules_for_requests_spare_inquiries(witness: Witness) -> None:
    await witness.script({"status": 503})
    assert (await witness.charge()).status_code == 503
    assert (await witness.client.get("/payment/charge")).status_code == 200
    [rule] = (await witness.client.get("/script")).json()
    assert rule == {"id": "rule-1", "match": {}, "then": {"status": 503}, "fired": 1}


async def test_a_delayed_look_up_tells_what_is_true_then(witness: Witness) -> None:
    await witness.script({"pending": {"settle": "applied", "after": 0.1}})
    await witness.script({"delay": 0.4}, match={"method": "GET"})
    await witness.do("ml.train", "model-1/train", TRAINING)
    began = time.monotonic()
    found = await witness.look_up("ml.train", "model-1/train")
    assert time.monotonic() - began >= 0.4
    assert found.json()["result"] == "applied"


async def test_a_look_up_that_hangs(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.charge()
        match = {"instance": "order-1", "method": "GET"}
        await witness.script({"hang": True}, match=match, times=1)
        with pytest.raises(httpx.ReadTimeout):
            await witness.client.get(
                "/payment/charge", params={"reference": "order-1/charge"}, timeout=0.2
            )
        found = await witness.look_up("payment.charge", "order-1/charge")
        assert found.json()["result"] == "applied"
        assert await witness.attempts() == ["charge applied"]
