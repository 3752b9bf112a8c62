"""Whatever comes in: a problem document goes out, and nothing has changed."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from launcher.stack import Stack
from tests.support.shop import Shop, order, some_id

ONE = {"sku": "SKU-1", "quantity": 1, "unit_price": 5}


def body(**changes: Any) -> bytes:
    return json.dumps(order("bad-input", **changes)).encode()


BAD = {
    "empty": b"",
    "not json": b'{"id": ',
    "not utf-8": b'\xff\xfe{"id": 1}',
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 60_000,
    "missing": b'{"id": "bad-input"}',
    "unknown field": body(colour="red"),
    "wrong type": body(customer=17),
    "negative price": body(lines=[{**ONE, "unit_price": -5}]),
    "fraction of a cent": body(lines=[{**ONE, "unit_price": 0.5}]),
    "price as text": body(lines=[{**ONE, "unit_price": "5"}]),
    "not a number": body(lines=[{**ONE, "unit_price": float("nan")}]),
    "infinite timeout": body(pickup_timeout=float("inf")),
    "negative timeout": body(pickup_timeout=-1),
    "nothing ordered": body(lines=[]),
    "no pieces": body(lines=[{**ONE, "quantity": 0}]),
    "huge number": body(lines=[{**ONE, "quantity": 10**40}]),
    "half a character": body(customer="\ud800"),
    "nul": body(customer="a\0b"),
    "long text": body(customer="x" * 5000),
    "currency": body(currency="euro"),
    "absurd id": json.dumps(order("a/../b")).encode(),
    "empty id": json.dumps(order("")).encode(),
    "long id": json.dumps(order("x" * 300)).encode(),
    "listing breaker": json.dumps(order("a||b")).encode(),
}


def assert_problem(response: httpx.Response, *statuses: int) -> None:
    assert response.status_code in statuses, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["type"].startswith("https://")
    assert problem["title"]


def everything(shop: Shop) -> list[str]:
    items = shop.http.get(f"{shop.url}/workflows", params={"limit": 200}).json()["items"]
    return [item["id"] for item in items]


@pytest.mark.parametrize("name", BAD)
def test_bad_orders(shop: Shop, name: str) -> None:
    before = everything(shop)
    headers = {"content-type": "application/json"}
    response = shop.http.post(f"{shop.url}/orders", content=BAD[name], headers=headers)
    assert_problem(response, 400, 422)
    assert everything(shop) == before


@pytest.mark.parametrize("chunked", [False, True])
def test_ten_megabytes(shop: Shop, chunked: bool) -> None:
    content = b"x" * 10_000_000
    parts = (content[i : i + 65_536] for i in range(0, len(content), 65_536))
    try:
        response = shop.http.post(f"{shop.url}/orders", content=parts if chunked else content)
    except httpx.WriteError:
        # The answer came, and the connection was closed, while we were still sending.
        return
    assert_problem(response, 413)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/workflows/nobody-knows-it", 404),
        ("GET", "/workflows/a%00b", 422),
        ("GET", "/workflows/" + "x" * 500, 422),
        ("GET", "/workflows?limit=0", 422),
        ("GET", "/workflows?limit=many", 422),
        ("GET", "/workflows?status=FINE", 422),
        ("GET", "/workflows?kind=nonsense", 422),
        ("GET", "/workflows?after=%00", 422),
        ("GET", "/interventions?after=%00", 422),
        ("POST", "/interventions/x/y/1", 422),
        ("GET", "/nowhere", 404),
        ("DELETE", "/orders", 405),
        ("POST", "/webhooks/nobody", 422),
    ],
)
def test_bad_requests(shop: Shop, method: str, path: str, status: int) -> None:
    assert_problem(shop.http.request(method, shop.url + path), status)


def test_an_unknown_intervention(shop: Shop) -> None:
    answer = {"action": "retry", "note": "x"}
    assert_problem(shop.post("/interventions/nobody/charge/1", answer), 404)


def test_an_idempotency_key_is_for_one_order(shop: Shop) -> None:
    key = {"Idempotency-Key": some_id("key")}
    nameless = {name: value for name, value in order("x").items() if name != "id"}
    first = shop.post("/orders", nameless, **key)
    assert first.status_code == 202
    assert shop.post("/orders", nameless, **key).headers["location"] == first.headers["location"]
    assert_problem(shop.post("/orders", {**nameless, "currency": "USD"}, **key), 422)
    assert_problem(shop.post("/orders", order(some_id("other")), **key), 422)
    shop.ended(first.json()["id"])


class TestWebhooks:
    """A callback needs a good and fresh signature, and a reference that we gave out."""

    @staticmethod
    def send(shop: Shop, stack: Stack, body: Any, **changes: str) -> httpx.Response:
        from app.security import sign

        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        event_id, now = changes.get("id", some_id("evt")), changes.get("at", str(int(time.time())))
        secret = changes.get("secret", stack.secrets.carrier_secret)
        headers = {
            "webhook-id": event_id,
            "webhook-timestamp": now,
            "webhook-signature": sign(secret, event_id, int(now), raw),
        }
        return shop.http.post(f"{shop.url}/webhooks/carrier", content=raw, headers=headers)

    @staticmethod
    def callback(id: str, **changes: Any) -> dict[str, Any]:
        return {
            "type": "carrier.picked_up",
            "reference": f"{id}/create_shipment",
            "occurred_at": "2026-11-21T10:00:00Z",
            "data": {},
            **changes,
        }

    def test_signatures(self, shop: Shop, stack: Stack) -> None:
        sent = self.callback("nobody")
        assert_problem(self.send(shop, stack, sent, secret="guessed-" * 4), 401)
        stale = str(int(time.time()) - 301)
        assert_problem(self.send(shop, stack, sent, at=stale), 401)
        future = str(int(time.time()) + 301)
        assert_problem(self.send(shop, stack, sent, at=future), 401)
        assert_problem(shop.http.post(f"{shop.url}/webhooks/carrier", json=sent), 401)

    def test_bodies(self, shop: Shop, stack: Stack) -> None:
        assert_problem(self.send(shop, stack, b"{"), 422)
        assert_problem(self.send(shop, stack, self.callback("nobody")), 404)
        assert_problem(self.send(shop, stack, self.callback("x", type="payment.captured")), 422)
        assert_problem(self.send(shop, stack, self.callback("x", reference="../../etc")), 422)

    def test_the_same_event_id_is_one_event(self, shop: Shop, stack: Stack) -> None:
        id = shop.start(order(some_id("hook")))
        shop.ended(id)
        event = some_id("evt")
        first = self.send(shop, stack, self.callback(id), id=event)
        assert (first.status_code, first.json()["duplicate"]) == (200, False)
        again = self.send(shop, stack, self.callback(id), id=event)
        assert (again.status_code, again.json()["duplicate"]) == (200, True)
        other = self.callback(id, data={"other": 1})
        assert_problem(self.send(shop, stack, other, id=event), 422)
