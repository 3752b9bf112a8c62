"""What the engine loses, the ladder brings back: same id, same keys, same direction."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

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
    assert shop.attempts(id)["payment.charge"] == 1, "what was answered is not sent again"


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
    assert shop.effects(id) == [*FULFILLED[:4], *undone, "notifier.send"]


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


class Books:
    """The application's own database, opened by somebody with a heavy hand."""

    def __init__(self, stack: Stack) -> None:
        self._path = stack.settings.data_dir / "app.db"

    def execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            for statement in statements:
                connection.execute(statement)


def of(shop: Shop, id: str) -> list[dict[str, Any]]:
    """Every intervention of an instance."""
    found = shop.http.get(f"{shop.url}/interventions?status=all&limit=200").json()["items"]
    return [one for one in found if one["instance"] == id]


def test_a_ladder_that_ends_gives_everything_back_and_asks(shop: Shop, stack: Stack) -> None:
    id = some_id("ladder")
    shop.script({"hold": "before", "on_disconnect": "drop"}, key=f"{id}/create_shipment")
    shop.start(order(id, retry={"cap": 0.1}))
    until(lambda: "inventory.reserve" in shop.effects(id), 10, "the reservation")
    Books(stack).execute(f"UPDATE records SET runs = 2 WHERE id = '{id}'")
    purge_by_hand(shop, stack, id)
    seen = shop.wait(id, 60, status="PARKED", waiting_for=f"{id}/engine/1")
    assert "refund applied" in seen["error"]
    undone = ["inventory.release", "payment.refund"]
    until(lambda: [e for e in shop.effects(id) if e in undone] == undone, 20, "given back")
    note = {"action": "settled", "note": "the customer was called"}
    assert shop.post(f"/interventions/{id}/engine/1", note).status_code == 200
    assert shop.ended(id, 60) == "SETTLED"
    assert [one["kind"] for one in of(shop, id)] == ["stuck"]


def test_the_engine_forgets_and_the_record_does_not(shop: Shop, stack: Stack) -> None:
    id = shop.start(order(some_id("old")))
    assert shop.ended(id) == "FULFILLED"
    Books(stack).execute(
        f"UPDATE records SET ended_at = '2020-01-01 00:00:00.000000' WHERE id = '{id}'"
    )
    headers = {"dapr-api-token": stack.secrets.dapr_api_token}
    url = f"{stack.dapr_http}/v1.0/workflows/dapr/{id}"
    until(lambda: shop.http.get(url, headers=headers).status_code == 404, 30, "it is purged")
    again = shop.post("/orders", order(id))
    assert (again.status_code, again.json()["outcome"]) == (202, "FULFILLED")
    assert shop.effects(id) == FULFILLED


def test_of_two_people_who_answer_at_once_one_wins(shop: Shop) -> None:
    id = some_id("answer")
    rule = shop.script({"status": 500}, key=f"{id}/notify")
    shop.start(order(id, retry={"attempts": 1}))
    shop.wait(id, status="PARKED")
    shop.unscript(rule)
    answers = [{"action": action, "note": "mine"} for action in ("retry", "settled")] * 10
    with ThreadPoolExecutor(20) as pool:
        path = f"/interventions/{id}/notify/1"
        statuses = list(pool.map(lambda answer: shop.post(path, answer).status_code, answers))
    assert sorted(statuses) == [200, *[409] * 19]
    assert shop.ended(id) == "FULFILLED"
