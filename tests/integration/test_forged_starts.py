"""Instances that somebody starts past the API, with the token and an input of their own."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.stack import Stack
from tests.support.shop import Shop, order, some_id, until


def start_past_the_api(shop: Shop, stack: Stack, kind: str, engine_id: str, input: Any) -> None:
    url = f"{stack.dapr_http}/v1.0/workflows/dapr/{kind}/start?instanceID={engine_id}"
    headers = {"dapr-api-token": stack.secrets.dapr_api_token}
    response = shop.http.post(url, json=input, headers=headers)
    assert response.is_success, response.text


def forged(shop: Shop) -> list[dict[str, Any]]:
    items = shop.http.get(f"{shop.url}/interventions").json()["items"]
    return [one for one in items if one["id"].startswith("engine/forged-start/")]


@pytest.mark.parametrize("kind", ["approval", "order_fulfilment", "health_monitor"])
def test_a_forged_start_has_no_effect_and_somebody_is_told(
    shop: Shop, stack: Stack, kind: str
) -> None:
    real = some_id("real")
    shop.script(
        {"callbacks": {"warehouse.picked": {"never": True}}},
        operation="carrier.create_shipment",
        instance=real,
    )
    shop.start(order(real))
    shop.wait(real, waiting_for="warehouse")
    before = shop.effects(real)
    inputs: dict[str, dict[str, Any]] = {
        "approval": {
            "id": real,
            "title": "a press",
            "requester": "r-1",
            "action": "buy",
            "amount": 5_000_000,
            "automatic": True,
            "approvers": [],
            "director": "d-1",
        },
        "order_fulfilment": order(real, ship_to={"name": "E", "country": "DE"}),
        "health_monitor": {"id": real, "url": f"{shop.downstream_url}/health/x"},
    }
    forger = some_id("forger")
    start_past_the_api(shop, stack, kind, forger, inputs[kind])
    until(lambda: forged(shop), 30, "somebody is told")
    assert shop.effects(forger) == []
    assert shop.effects(real) == before
    assert shop.look(real)["waiting_for"] == "warehouse"


def test_many_forged_starts_are_one_intervention(shop: Shop, stack: Stack) -> None:
    for _ in range(5):
        start_past_the_api(shop, stack, "approval", some_id("forger"), {"id": "whatever"})
    until(lambda: forged(shop), 30, "somebody is told")
    assert len(forged(shop)) == 1
