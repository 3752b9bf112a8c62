"""What the engine loses, the ladder brings back: same id, same keys, same direction."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from launcher.stack import Stack
from tests.support.sagas import effect_keys
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


def steadfast(stack: Stack, *arguments: str) -> subprocess.Popen[str]:
    """The command line, beside the application."""
    settings, secrets = stack.settings, stack.secrets
    env = {
        **os.environ,
        "STEADFAST_DATABASE_URL": settings.database_url,
        "STEADFAST_DOWNSTREAM_URL": stack.downstream_url,
        "STEADFAST_WEBHOOK_SECRET": secrets.webhook_secret,
        "STEADFAST_STALL_AFTER": "1",
        "DAPR_API_TOKEN": secrets.dapr_api_token,
        "DAPR_GRPC_PORT": str(settings.dapr_grpc_port),
        "DAPR_HTTP_PORT": str(settings.dapr_http_port),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *arguments], env=env, stdout=subprocess.PIPE, text=True
    )


def test_money_without_a_record_is_refunded_once(shop: Shop, stack: Stack) -> None:
    """The reconciler is killed between the refund and its notes, and run again twice."""
    id = some_id("orphan")
    shop.script({"hold": "before"}, key=f"{id}/reserve")
    shop.start(order(id))
    until(lambda: "payment.charge" in shop.effects(id), 10, "the charge")
    until(lambda: shop.http.get(f"{shop.downstream_url}/held").json(), 10, "held before reserving")
    purge_by_hand(shop, stack, id)
    stack.hold("app")
    stack.kill("app")
    Books(stack).execute(
        f"DELETE FROM inbox WHERE instance = '{id}'",
        f"DELETE FROM waits WHERE instance = '{id}'",
        f"DELETE FROM records WHERE id = '{id}'",
    )
    shop.script({"hold": "after"}, key=f"{id}/charge/audit_refund", times=1)
    killed = steadfast(stack, "reconcile")
    until(lambda: "payment.refund" in shop.effects(id), 20, "the refund")
    killed.kill()
    killed.wait()
    for _ in range(2):
        again = steadfast(stack, "reconcile")
        assert again.wait(60) == 0
    stack.unhold("app")
    stack.wait_ready()
    assert shop.effects(id)[:2] == ["payment.charge", "payment.refund"]
    (asked,) = of(shop, id)
    assert asked["kind"] == "unaccounted"


def test_money_taken_behind_the_back_of_an_ended_order_is_refunded(
    shop: Shop, stack: Stack
) -> None:
    id = shop.start(order(some_id("behind"), payment_method="pm-declined"))
    assert shop.ended(id) == "REFUSED"
    Books(stack).execute(
        f"UPDATE records SET ended_at = '2026-01-01 00:00:00.000000' WHERE id = '{id}'"
    )
    again = {
        "instance": id,
        "reference": f"{id}/charge-again",
        "amount": 5,
        "currency": "EUR",
        "payment_method": "pm-ok",
        "customer": "c-17",
    }
    headers = {"Idempotency-Key": f"{id}/charge-again"}
    charged = shop.http.post(f"{shop.downstream_url}/payment/charge", json=again, headers=headers)
    assert charged.json()["result"] == "applied"
    for _ in range(2):
        assert steadfast(stack, "reconcile").wait(60) == 0
    assert effect_keys(shop, id) == ["notify", "charge-again", "charge-again/audit_refund"]
    assert [one["kind"] for one in of(shop, id)] == ["unaccounted"]


def test_what_a_person_has_settled_is_not_refunded_again(shop: Shop, stack: Stack) -> None:
    id = some_id("byhand")
    shop.script({"status": 500}, key=f"{id}/refund")
    none = [{"sku": "SKU-NONE", "quantity": 1, "unit_price": 5}]
    shop.start(order(id, lines=none, retry={"attempts": 1}))
    shop.wait(id, status="PARKED")
    paid_back = {"action": "settled", "note": "paid back in cash"}
    assert shop.post(f"/interventions/{id}/refund/1", paid_back).status_code == 200
    assert shop.ended(id) == "REFUSED"
    Books(stack).execute(
        f"UPDATE records SET ended_at = '2026-01-01 00:00:00.000000' WHERE id = '{id}'"
    )
    assert steadfast(stack, "reconcile").wait(60) == 0
    assert "payment.refund" not in shop.effects(id)


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
