"""Workflows changed while instances are under way, and a deployment that is bad."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.stack import Stack
from tests.support.shop import FULFILLED, Shop, order, some_id, until

RESERVED_FIRST = [FULFILLED[1], FULFILLED[0], *FULFILLED[2:]]


@contextmanager
def deployed(stack: Stack, kind: str) -> Iterator[None]:
    """The application replaced by its next version; the old one comes back at the end."""
    stack.hold("app")
    ended = stack.kill("app", signal.SIGTERM)
    until(lambda: not Path(f"/proc/{ended}").exists(), 20, "the old version has ended")
    replica = stack.spawn_app(
        "app-next",
        port=stack.settings.port,
        command=[sys.executable, "-m", "tests.support.next_version"],
        env={"NEXT": kind, "STEADFAST_STALL_AFTER": "3"},
    )
    try:
        yield
    finally:
        replica.stop()
        stack.unhold("app")
        stack.wait_ready("app")


def call_back(shop: Shop, source: str, type: str, reference: str) -> None:
    body = {"source": source, "type": type, "reference": reference}
    response = shop.http.post(f"{shop.downstream_url}/callbacks", json=body)
    assert response.is_success, response.text


@pytest.mark.parametrize(("kind", "each"), [("version", 100), ("patch", 20)])
def test_those_under_way_finish_on_their_path(
    shop: Shop, stack: Stack, kind: str, each: int
) -> None:
    never = {"callbacks": {"carrier.picked_up": {"never": True}}}
    unpaid = [some_id("unpaid") for _ in range(each)]
    shop.start_all(order(id, payment_method="pm-never") for id in unpaid)
    rule = shop.script(never, operation="carrier.create_shipment")
    shipped = [some_id("shipped") for _ in range(each)]
    shop.start_all(order(id) for id in shipped)
    for id in shipped:
        shop.wait(id, 60, waiting_for="carrier")
    for id in unpaid:
        shop.wait(id, 60, waiting_for="payment")
    shop.unscript(rule)

    with deployed(stack, kind):
        for id in unpaid:
            call_back(shop, "payment", "payment.captured", f"{id}/charge")
        for id in shipped:
            call_back(shop, "carrier", "carrier.picked_up", f"{id}/create_shipment")
        new = shop.start_all(order(some_id("new")) for _ in range(10))
        ended = Counter(shop.ended(id, 120) for id in [*shipped, *unpaid, *new])
    assert ended == {"FULFILLED": 2 * each + 10}
    assert {tuple(shop.effects(id)) for id in shipped} == {tuple(FULFILLED)}
    # The provider never captured these; the callback was made by hand.
    assert {tuple(shop.effects(id)) for id in unpaid} == {tuple(FULFILLED[1:])}
    assert {tuple(shop.effects(id)) for id in new} == {tuple(RESERVED_FIRST)}


def test_a_bad_deployment_stops_the_ladder_until_it_is_mended(shop: Shop, stack: Stack) -> None:
    ids = [some_id("unlucky") for _ in range(12)]

    def alarm() -> str | None:
        found = shop.http.get(f"{shop.url}/interventions").json()["items"]
        return next((one["id"] for one in found if one["kind"] == "bad_deployment"), None)

    with deployed(stack, "broken"):
        shop.start_all(order(id, retry={"cap": 0.1}) for id in ids)
        intervention = until(alarm, 90, "the alarm")
        assert shop.post(f"/interventions/{intervention}", answer("x")).status_code == 200
        until(lambda: alarm() not in (None, intervention), 90, "a second alarm: nothing is mended")
    assert shop.post(f"/interventions/{alarm()}", answer("mended")).status_code == 200
    assert Counter(shop.ended(id, 120) for id in ids) == {"FULFILLED": len(ids)}
    assert {tuple(shop.effects(id)) for id in ids} == {tuple(FULFILLED)}


def answer(note: str) -> dict[str, str]:
    return {"action": "retry", "note": note}
