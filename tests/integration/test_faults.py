"""Kills, outages and zombies, on the real runtime, judged by the provider's ledger."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.stack import Replica, Stack
from tests.support.shop import FULFILLED, Shop, order, some_id, until

APP = [sys.executable, "-m", "app"]
SHIP = "carrier.create_shipment"
SCHEDULER_LEASE = 60  # seconds; a killed scheduler keeps everybody waiting for about 25 of them


def assert_fulfilled(shop: Shop, ids: list[str]) -> None:
    assert {id: shop.effects(id) for id in ids} == dict.fromkeys(ids, FULFILLED)


@contextmanager
def sabotaged(stack: Stack, sabotage: str, count: Path) -> Iterator[Replica]:
    """The application replaced by one that something is done to at an exact moment."""
    stack.hold("app")
    ended = stack.kill("app", signal.SIGTERM)
    until(lambda: not Path(f"/proc/{ended}").exists(), 20, "the application has ended")
    replica = stack.spawn_app(
        port=stack.settings.port,
        command=[sys.executable, "-m", "tests.support.sabotage"],
        env={"SABOTAGE": sabotage, "SABOTAGE_COUNT": str(count)},
    )
    try:
        yield replica
    finally:
        replica.stop()
        stack.unhold("app")
        stack.wait_ready("app")


def test_twenty_orders_survive_a_kill_of_everything(shop: Shop, stack: Stack) -> None:
    later = {"callbacks": {"carrier.picked_up": {"after": 3600}}}
    shop.script(later, operation=SHIP)
    ids = shop.start_all(order(some_id("kill")) for _ in range(20))
    for victim in ("app", "daprd", "scheduler", "placement"):
        assert "FULFILLED" not in {shop.look(id).get("outcome") for id in ids}
        old = stack.kill(victim)
        stack.wait_restarted(victim, old, timeout=60)
    stack.wait_ready()
    for id in ids:
        pick_up(shop, id)
    for id in ids:
        assert shop.ended(id, SCHEDULER_LEASE) == "FULFILLED"
    assert_fulfilled(shop, ids)


def pick_up(shop: Shop, id: str) -> None:
    """The carrier picks the parcel up, once there is one."""

    def shipped() -> str | None:
        done = shop.ledger(id)["effects"]
        return next((one["key"] for one in done if one["operation"] == SHIP), None)

    key = until(shipped, SCHEDULER_LEASE, f"the shipment of {id}")
    due = {"operation": SHIP, "key": key, "type": "carrier.picked_up"}
    assert shop.http.post(f"{shop.downstream_url}/due", json=due).json() == {"planned": True}


def test_ten_seconds_without_the_providers(shop: Shop) -> None:
    outage = shop.script({"status": 503})
    ids = shop.start_all(order(some_id("outage")) for _ in range(20))
    started = time.monotonic()
    until(lambda: time.monotonic() - started > 10, 11, "ten seconds of outage")
    assert shop.fired(outage) > 20
    shop.unscript(outage)
    for id in ids:
        assert shop.ended(id, 60) == "FULFILLED"
    assert_fulfilled(shop, ids)


def test_every_first_response_lost_after_the_commit(shop: Shop) -> None:
    lost = shop.script({"drop": True}, attempts=[1])
    ids = shop.start_all(order(some_id("drop")) for _ in range(20))
    for id in ids:
        assert shop.ended(id, 60) == "FULFILLED"
    assert shop.fired(lost) == 20 * len(FULFILLED)
    assert_fulfilled(shop, ids)
    for id in ids:
        tried = Counter(attempt["key"] for attempt in shop.ledger(id)["attempts"])
        assert set(tried.values()) == {2}


def test_a_kill_between_accepting_and_scheduling(shop: Shop, stack: Stack, tmp_path: Path) -> None:
    id, count = some_id("between"), tmp_path / "count"
    with sabotaged(stack, f"schedule:{id}=SIGKILL*1", count) as replica:
        old = stack.pid(replica.name)
        shop.start(order(id))
        stack.wait_restarted(replica.name, old)
        assert shop.ended(id, 60) == "FULFILLED"
    assert count.read_bytes() == b"."
    assert_fulfilled(shop, [id])


def test_a_step_that_kills_its_process_is_parked_and_the_others_go_on(
    shop: Shop, stack: Stack, tmp_path: Path
) -> None:
    id = some_id("poison")
    with sabotaged(stack, f"send:{id}/reserve=SIGKILL", tmp_path / "count"):
        others = shop.start_all(order(some_id("bystander")) for _ in range(5))
        shop.start(order(id))
        assert shop.wait(id, 120, status="PARKED")["waiting_for"] == f"{id}/reserve/1"
        for other in others:
            assert shop.ended(other, 60) == "FULFILLED"
        attempts = [e for e in shop.look(id)["timeline"] if e.get("key") == f"{id}/reserve"]
        assert [attempt["result"] for attempt in attempts] == ["unfinished"] * 5
    assert_fulfilled(shop, others)

    (intervention,) = [
        one
        for one in shop.http.get(f"{shop.url}/interventions").json()["items"]
        if one["instance"] == id
    ]
    assert intervention["kind"] == "poison"
    until(lambda: f"{intervention['id']}/alert" in alerts(shop, id), 20, "the alert")

    answer = {"action": "retry", "note": "the bad build is gone"}
    assert shop.post(f"/interventions/{intervention['id']}", answer).status_code == 200
    assert shop.post(f"/interventions/{intervention['id']}", answer).status_code == 409
    assert shop.ended(id) == "FULFILLED"
    assert Counter(shop.effects(id)) == Counter([*FULFILLED, "notifier.send"])
    assert len(alerts(shop, id)) == 1


def alerts(shop: Shop, id: str) -> list[str]:
    keys = [effect["key"] for effect in shop.ledger(id)["effects"]]
    return [key for key in keys if key.endswith("/alert")]


def test_a_zombie_that_wakes_after_the_compensation_charges_nobody(
    shop: Shop, stack: Stack, tmp_path: Path
) -> None:
    id = some_id("zombie")
    with sabotaged(stack, f"send:{id}/charge=SIGSTOP*1", tmp_path / "count") as replica:
        pid = stack.pid(replica.name)
        shop.start(order(id, lines=[{"sku": "SKU-NONE", "quantity": 1, "unit_price": 5}]))
        until(lambda: stopped(pid), 20, "the worker is paused before its charge")
        assert shop.ledger(id)["attempts"] == []
        second = stack.spawn_app("app-3", command=APP)
        other = Shop(second.url, shop.downstream_url, shop.http)
        assert other.ended(id, 60) == "REFUSED"
        effects = ["payment.charge", "payment.refund", "notifier.send"]
        assert shop.effects(id) == effects

        os.kill(pid, signal.SIGCONT)
        until(lambda: charges(shop, id) == ["applied", "undone"], 30, "the zombie's late charge")
        assert shop.effects(id) == effects
        second.stop()


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def charges(shop: Shop, id: str) -> list[str]:
    attempts = shop.ledger(id)["attempts"]
    return [a["result"] for a in attempts if a["operation"] == "payment.charge"]
