"""What the engine loses, the ladder brings back: same id, same keys, same direction."""

from __future__ import annotations

from launcher.stack import Stack
from tests.support.shop import FULFILLED, Shop, order, some_id, until


def purge_by_hand(shop: Shop, stack: Stack, id: str) -> None:
    headers = {"dapr-api-token": stack.secrets.dapr_api_token}
    base = f"{stack.dapr_http}/v1.0/workflows/dapr/{id}"
    assert shop.http.post(f"{base}/terminate", headers=headers).status_code == 202

    def purged() -> bool:
        return shop.http.post(f"{base}/purge", headers=headers).status_code == 202

    until(purged, 10, f"{id} purged")


def test_an_instance_that_was_purged_after_the_charge_is_run_again(
    shop: Shop, stack: Stack
) -> None:
    id = some_id("purged")
    hold = shop.script({"delay": 3}, operation="inventory.reserve", instance=id, times=1)
    shop.start(order(id, retry={"cap": 0.5}))
    until(lambda: "payment.charge" in shop.effects(id), 10, "the charge")
    purge_by_hand(shop, stack, id)
    assert shop.ended(id, 60) == "FULFILLED"
    assert shop.fired(hold) == 1
    assert sorted(shop.effects(id)) == sorted(FULFILLED)
    assert shop.attempts(id)["payment.charge"] == 2


def test_cancel_suspend_resume(shop: Shop) -> None:
    id = some_id("suspended")
    never = {"callbacks": {"warehouse.picked": {"never": True}}}
    shop.script(never, operation="carrier.create_shipment", instance=id)
    shop.start(order(id))
    shop.wait(id, status="WAITING")
    assert shop.post(f"/workflows/{id}/suspend", None).json()["status"] == "SUSPENDED"
    assert shop.post(f"/workflows/{id}/resume", None).json()["status"] == "WAITING"
    assert shop.post(f"/workflows/{id}/cancel", None).status_code == 202
    assert shop.ended(id) == "COMPENSATED"
    assert shop.post(f"/workflows/{id}/cancel", None).status_code == 409
    undone = ["carrier.cancel_shipment", "inventory.release", "payment.refund"]
    assert shop.effects(id) == [*FULFILLED[:3], *undone, "notifier.send"]


def test_terminate_lists_what_it_left_standing(shop: Shop) -> None:
    id = some_id("terminated")
    never = {"callbacks": {"warehouse.picked": {"never": True}}}
    shop.script(never, operation="carrier.create_shipment", instance=id)
    shop.start(order(id))
    shop.wait(id, status="WAITING")
    answer = shop.post(f"/workflows/{id}/terminate", None)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "TERMINATED")
    (left,) = [
        one
        for one in shop.http.get(f"{shop.url}/interventions").json()["items"]
        if one["instance"] == id
    ]
    assert left["kind"] == "terminated"
    assert all(f"{id}/{name}" in left["reason"] for name in ("charge", "reserve"))
