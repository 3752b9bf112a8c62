"""Orders on the real runtime, judged by the provider's ledger."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from launcher.stack import Stack
from tests.support.shop import FULFILLED, Shop, order, some_id, until


def test_an_order_is_fulfilled_after_the_pickup(shop: Shop) -> None:
    id = shop.start(order(some_id("happy")))
    assert shop.ended(id) == "FULFILLED"
    assert shop.effects(id) == FULFILLED
    seen = shop.look(id)
    assert seen["kind"] == "order_fulfilment"
    assert next(entry["what"] for entry in seen["timeline"]) == "accepted"


@pytest.mark.parametrize(
    ("change", "effects", "undos"),
    [
        ({"payment_method": "pm-declined"}, [], ["payment.refund"]),
        (
            {"lines": [{"sku": "SKU-NONE", "quantity": 1, "unit_price": 5}]},
            ["payment.charge", "payment.refund"],
            ["inventory.release", "payment.refund"],
        ),
        (
            {"ship_to": {"name": "A", "line1": "B", "postcode": "1", "country": "ZZ"}},
            ["payment.charge", "inventory.reserve", "inventory.release", "payment.refund"],
            ["carrier.cancel_shipment", "inventory.release", "payment.refund"],
        ),
    ],
)
def test_a_refusal_is_compensated_last_in_first_out(
    shop: Shop, change: dict[str, object], effects: list[str], undos: list[str]
) -> None:
    id = shop.start(order(some_id("refused"), **change))
    assert shop.ended(id) == "REFUSED"
    assert shop.effects(id) == [*effects, "notifier.send"]
    attempted = [a["operation"] for a in shop.ledger(id)["attempts"]]
    assert [op for op in attempted if op in undos] == undos


def test_an_article_that_is_not_found_gives_everything_back(shop: Shop) -> None:
    lost = [{"sku": "SKU-LOST", "quantity": 1, "unit_price": 5}]
    id = shop.start(order(some_id("lost"), lines=lost))
    assert shop.ended(id) == "COMPENSATED"
    undone = ["carrier.cancel_shipment", "inventory.release", "payment.refund"]
    assert shop.effects(id) == [*FULFILLED[:4], *undone, "notifier.send"]


def test_a_charge_whose_every_response_is_lost_is_refunded(shop: Shop) -> None:
    id = some_id("silent")
    rule = shop.script({"drop": True}, operation="payment.charge", instance=id)
    shop.start(order(id, retry={"attempts": 3, "first": 0.1, "cap": 0.2}))
    assert shop.ended(id) == "COMPENSATED"
    assert shop.fired(rule) == 3
    assert shop.effects(id) == ["payment.charge", "payment.refund", "notifier.send"]


def test_a_pending_payment_waits_for_its_callback(shop: Shop) -> None:
    id = shop.start(order(some_id("pending"), payment_method="pm-pending"))
    assert shop.ended(id) == "FULFILLED"
    assert Counter(shop.effects(id)) == Counter(FULFILLED)


def test_a_payment_captured_after_the_end_is_refunded(shop: Shop) -> None:
    id = some_id("late")
    late = {"callbacks": {"payment.captured": {"after": 3, "despite_undo": True}}}
    rule = shop.script(late, operation="payment.charge", instance=id)
    shop.start(order(id, payment_method="pm-pending", payment_timeout=0.5))
    assert shop.ended(id) == "COMPENSATED"
    assert shop.fired(rule) == 1
    until(lambda: "payment.refund" in shop.effects(id), 20, "the late refund")
    assert shop.effects(id) == ["notifier.send", "payment.charge", "payment.refund"]


def test_a_callback_that_comes_twice_counts_once(shop: Shop) -> None:
    id = some_id("twice")
    copies = {"callbacks": {t: {"copies": 3} for t in ("warehouse.picked", "carrier.picked_up")}}
    rule = shop.script(copies, operation="carrier.create_shipment", instance=id)
    shop.start(order(id))
    assert shop.ended(id) == "FULFILLED"
    assert shop.fired(rule) == 1
    assert shop.effects(id) == FULFILLED


def test_a_shipment_nobody_picks_up_is_cancelled(shop: Shop) -> None:
    id = some_id("left")
    never = {"callbacks": {"carrier.picked_up": {"never": True}}}
    rule = shop.script(never, operation="carrier.create_shipment", instance=id)
    shop.start(order(id, pickup_timeout=1))
    assert shop.ended(id) == "COMPENSATED"
    assert shop.fired(rule) == 1
    undone = ["carrier.cancel_shipment", "inventory.release", "payment.refund"]
    assert shop.effects(id) == [*FULFILLED[:4], *undone, "notifier.send"]


def test_a_pickup_while_the_cancel_is_on_its_way_fulfils(shop: Shop) -> None:
    id = some_id("race")
    slow = {"delay": 2}  # the pickup happens meanwhile
    rule = shop.script(slow, operation="carrier.cancel_shipment", instance=id)
    later = {"callbacks": {"carrier.picked_up": {"after": 1.5}}}
    shop.script(later, operation="carrier.create_shipment", instance=id)
    shop.start(order(id, pickup_timeout=0.5))
    assert shop.ended(id) == "FULFILLED"
    assert shop.fired(rule) >= 1
    assert shop.effects(id) == FULFILLED
    results = [a["result"] for a in shop.ledger(id)["attempts"] if "cancel" in a["operation"]]
    assert results == ["too_late"]


def test_fifty_starts_at_once_are_one_order(shop: Shop) -> None:
    body = order(some_id("fifty"))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: shop.post("/orders", body), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["accepted_at"] for answer in answers} == {
        answers[0].json()["accepted_at"]
    }
    assert {answer.headers["location"] for answer in answers} == {f"/workflows/{body['id']}"}
    assert shop.ended(body["id"]) == "FULFILLED"

    again = shop.post("/orders", body)
    assert (again.status_code, again.json()["outcome"]) == (202, "FULFILLED")
    other = shop.post("/orders", {**body, "currency": "USD"})
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
    assert shop.effects(body["id"]) == FULFILLED
    assert shop.attempts(body["id"]) == Counter(FULFILLED)


def test_the_engine_asked_to_run_a_finished_order_again_does_nothing(
    shop: Shop, stack: Stack
) -> None:
    id = shop.start(order(some_id("again")))
    assert shop.ended(id) == "FULFILLED"
    before = shop.attempts(id)
    headers = {"dapr-api-token": stack.secrets.dapr_api_token}
    workflow = f"{stack.dapr_http}/v1.0/workflows/dapr/order_fulfilment"

    def finished() -> bool:
        state = shop.http.get(f"{stack.dapr_http}/v1.0/workflows/dapr/{id}", headers=headers)
        return bool(state.json().get("runtimeStatus") == "COMPLETED")

    until(finished, 10, "the engine's instance completed")
    response = shop.http.post(
        f"{workflow}/start", params={"instanceID": id}, json=order(id), headers=headers
    )
    assert response.status_code == 202, response.text
    until(finished, 10, "the second run completed")
    assert shop.attempts(id) == before
