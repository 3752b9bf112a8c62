"""On Postgres: a killed scheduler, lost wake-ups, broken histories, and all orders end right."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator

import pytest

from launcher.postgres import temporary
from launcher.settings import Settings
from launcher.stack import Stack
from tests.support.damage import damage_history, remove_wake_ups
from tests.support.shop import FULFILLED, Shop, order, some_id, until
from tests.support.tokens import token

ORDERS = int(os.environ.get("STEADFAST_STRESS_ORDERS", "60"))
KILLS = int(os.environ.get("STEADFAST_STRESS_KILLS", "1"))
DAMAGED = int(os.environ.get("STEADFAST_STRESS_DAMAGED", "6"))
UNDOS = ["carrier.cancel_shipment", "inventory.release", "payment.refund"]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with temporary() as server:
        yield server.create_database("steadfast")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("postgres-stack")
    settings = Settings.ephemeral(folder, store="postgres", postgres_url=database)
    env = {"STEADFAST_STALL_AFTER": "8", "STEADFAST_RECONCILE_INTERVAL": "1"}
    with Stack(settings, app_env=env) as running:
        yield running


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    visitor = Shop(stack.url, stack.downstream_url).authorize(token(stack, "op-1", "operator"))
    yield visitor
    visitor.http.delete(f"{stack.downstream_url}/script")


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_scheduler_killed_at_two_fifths(shop: Shop, stack: Stack, kill: int) -> None:
    ids = [some_id(f"strand{kill}") for _ in range(ORDERS)]
    shop.start_all(order(id, retry={"cap": 2}) for id in ids)
    wanted = int(0.4 * len(FULFILLED) * ORDERS)
    until(lambda: sum(len(shop.effects(id)) for id in ids) >= wanted, 120, "two fifths done")
    stack.kill("scheduler")
    assert Counter(shop.ended(id, 180) for id in ids) == {"FULFILLED": ORDERS}
    assert {id: sorted(shop.effects(id)) for id in ids} == {id: sorted(FULFILLED) for id in ids}
    print(f"kill {kill}: {ladder_totals(shop)}")


def test_lost_wake_ups_and_damaged_histories(shop: Shop, stack: Stack, database: str) -> None:
    never = {"callbacks": {"carrier.picked_up": {"never": True}}}
    waiting = {some_id("waiting"): how for how in damages()}
    shop.script(never, operation="carrier.create_shipment")
    shop.start_all(order(id, pickup_timeout=20, retry={"cap": 2}) for id in waiting)

    undoing = {some_id("undoing"): how for how in damages()}
    for id in undoing:
        shop.script({"status": 503}, operation="inventory.release", instance=id)
    stuck = {"attempts": 20, "first": 1, "cap": 1}
    country = {"name": "A", "line1": "B", "postcode": "1", "country": "ZZ"}
    shop.start_all(order(id, ship_to=country, retry=stuck) for id in undoing)

    due = {id: shop.wait(id, 60, waiting_for="carrier")["due_at"] for id in waiting}
    for id in undoing:
        until(lambda id=id: "inventory.release" in shop.attempts(id), 60, f"{id} is undoing")  # type: ignore[misc]
    app_id = stack.settings.app_id
    for id, how in {**waiting, **undoing}.items():
        if how == "unawakened":
            remove_wake_ups(stack.settings.scheduler_etcd_client_port, app_id, id)
        else:
            assert asyncio.run(damage_history(database, app_id, id, how))
    stack.wait_restarted("daprd", stack.kill("daprd"))  # it reads what is left of them
    for id in waiting:
        assert shop.look(id).get("due_at") in (due[id], None)
    shop.http.delete(f"{stack.downstream_url}/script")

    assert Counter(shop.ended(id, 120) for id in waiting) == {"COMPENSATED": len(waiting)}
    assert Counter(shop.ended(id, 120) for id in undoing) == {"REFUSED": len(undoing)}
    for id in waiting:
        assert shop.effects(id) == [*FULFILLED[:4], *UNDOS, "notifier.send"], waiting[id]
    for id in undoing:
        done = ["payment.charge", "inventory.reserve", "inventory.release", "payment.refund"]
        assert sorted(shop.effects(id)) == sorted([*done, "notifier.send"]), undoing[id]
    totals = ladder_totals(shop)
    print(f"damaged: {totals}")
    assert totals["run_again"] > 0


def damages() -> list[str]:
    kinds = ("unawakened", "swapped", "lost", "garbage")
    return [kinds[n % len(kinds)] for n in range(DAMAGED)]


def ladder_totals(shop: Shop) -> dict[str, int]:
    """How many the reconciler woke, ran again, and so on, since the application started."""
    text = shop.http.get(f"{shop.url}/metrics").raise_for_status().text
    prefix = 'steadfast_reconciled_total{what="'
    lines = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
    return {line.split('"')[0]: int(float(line.rsplit(" ", 1)[1])) for line in lines}
