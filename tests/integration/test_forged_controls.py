"""What somebody who reaches the sidecar raises there counts only where it is signed for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from activities.signed_controls import SignedControl
from launcher.stack import Stack
from tests.support.sagas import effect_keys
from tests.support.shop import Shop, order, some_id, until

Raise = Callable[[str, str, Any], None]


@pytest.fixture
def raise_(shop: Shop, stack: Stack) -> Raise:
    """Raises an event at the sidecar, with its token."""

    def raised(id: str, name: str, data: Any) -> None:
        url = f"{stack.dapr_http}/v1.0/workflows/dapr/{id}/raiseEvent/{name}"
        headers = {"dapr-api-token": stack.secrets.dapr_api_token}
        response = shop.http.post(url, json=data, headers=headers)
        assert response.is_success, response.text

    return raised


def signed(
    stack: Stack, id: str, action: str, event_id: str, *, seconds: int = 600, **settings: Any
) -> dict[str, Any]:
    """A control as somebody raises it who may."""
    unsigned = SignedControl(
        action=action,
        settings=settings or None,
        event_id=event_id,
        by="op-1",
        expires=int(time.time()) + seconds,
        signature="",
    )
    signature = unsigned.expected(stack.secrets.decision_key, id)
    event = unsigned.model_copy(update={"signature": signature})
    return event.model_dump(mode="json", exclude_none=True)


def forged(shop: Shop, id: str) -> list[str]:
    """The open interventions about forged events of an instance."""
    items = shop.http.get(f"{shop.url}/interventions?limit=200").json()["items"]
    return [one["id"] for one in items if one["instance"] == id and one["kind"] == "forged"]


def settle(shop: Shop, intervention: str) -> None:
    answer = {"action": "settled", "note": "looked at"}
    assert shop.post(f"/interventions/{intervention}", answer).status_code == 200


def monitor(shop: Shop, id: str) -> dict[str, Any]:
    found: dict[str, Any] = shop.http.get(f"{shop.url}/monitors/{id}").json()
    return {name: found[name] for name in ("paused", "stopped", "controls", "settings")}


def watched(shop: Shop, name: str) -> str:
    """A monitor that has checked once and sleeps for an hour."""
    id = some_id(name)
    shop.start({"id": id, "url": f"{shop.downstream_url}/health/{id}"}, "/monitors")
    until(lambda: shop.http.get(f"{shop.url}/monitors/{id}").json()["checks"], 20, "a check")
    return id


def test_a_forged_control_changes_no_monitor_and_somebody_is_told(
    shop: Shop, stack: Stack, raise_: Raise
) -> None:
    id, other = watched(shop, "watched"), watched(shop, "other")
    stop = signed(stack, id, "stop", "e-1")
    update = signed(stack, id, "update", "e-2", healthy_interval=60)
    tries: dict[str, Any] = {
        "unsigned": {"event_id": "e-1", "action": "stop"},
        "no control at all": "stop",
        "signed by nobody": {**stop, "signature": "0" * 64},
        "signed for another monitor": signed(stack, other, "stop", "e-1"),
        "signed for another action": {**signed(stack, id, "pause", "e-1"), "action": "stop"},
        "signed for other settings": {**update, "settings": {"url": "http://127.0.0.1:9/"}},
        "signed for another person": {**stop, "by": "op-2"},
        "signed for another event": {**stop, "event_id": "e-3"},
        "expired": signed(stack, id, "stop", "e-4", seconds=-1),
        "prolonged": {**stop, "expires": 2**40},
    }
    before = monitor(shop, id)
    for what, event in tries.items():
        raise_(id, "control", event)
        (told,) = until(lambda: forged(shop, id), 20, f"somebody is told: {what}")
        assert monitor(shop, id) == before, what
        settle(shop, told)
    assert effect_keys(shop, id) == []
    raise_(id, "control", stop)
    assert shop.ended(id) == "STOPPED"
    assert monitor(shop, other)["stopped"] is False


def test_a_control_that_is_raised_again_counts_once(
    shop: Shop, stack: Stack, raise_: Raise
) -> None:
    id = watched(shop, "again")
    pause = signed(stack, id, "pause", "e-1")
    raise_(id, "control", pause)
    until(lambda: monitor(shop, id)["paused"], 20, "it is paused")
    assert shop.post(f"/monitors/{id}/control", {"action": "resume"}).status_code == 202
    until(lambda: not monitor(shop, id)["paused"], 20, "it goes on")
    before = monitor(shop, id)
    raise_(id, "control", pause)
    raise_(id, "control", {"action": "stop"})
    until(lambda: forged(shop, id), 20, "both were heard")
    assert monitor(shop, id) == before


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cancel", {"by": "op-1", "reason": "cancel"}),
        ("warehouse", {"type": "warehouse.not_found", "data": {}}),
        ("warehouse", {"type": "warehouse.picked", "data": {}}),
    ],
)
def test_a_forged_event_moves_no_order_and_somebody_is_told(
    shop: Shop, raise_: Raise, name: str, data: dict[str, Any]
) -> None:
    id = some_id("forged")
    never = {"callbacks": {"warehouse.picked": {"never": True}}}
    shop.script(never, operation="carrier.create_shipment", instance=id)
    shop.start(order(id))
    before = shop.wait(id, waiting_for="warehouse")
    effects = effect_keys(shop, id)
    raise_(id, name, data)
    raise_(id, name, data)
    until(lambda: forged(shop, id), 20, "somebody is told")
    seen = shop.look(id)
    assert (seen["status"], seen["waiting_for"]) == ("WAITING", "warehouse")
    assert seen["due_at"] == before["due_at"]
    assert effect_keys(shop, id) == effects
    assert forged(shop, id) == [f"{id}/raised-{name}/1"]


def test_a_forged_answer_settles_nothing_and_somebody_is_told(shop: Shop, raise_: Raise) -> None:
    id = some_id("answer")
    rule = shop.script({"status": 500}, key=f"{id}/notify")
    shop.start(order(id, retry={"attempts": 1}))
    parked = shop.wait(id, status="PARKED")
    tries = shop.fired(rule)
    for action in ("retry", "settled"):
        raise_(id, "intervention", {"action": action, "id": parked["waiting_for"], "by": "op-1"})
    until(lambda: forged(shop, id), 20, "somebody is told")
    seen = shop.look(id)
    assert (seen["status"], seen["waiting_for"]) == ("PARKED", parked["waiting_for"])
    assert shop.fired(rule) == tries
    shop.unscript(rule)
    settle(shop, parked["waiting_for"])
    assert shop.ended(id) == "FULFILLED"
