"""The store is away for an hour, or a weekend: nobody is undone or parked, and all go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from store import StoreAway, interventions, open_engine
from tests.support.engine import Run
from tests.support.shop import order
from tests.support.world import World, world
from workflows.run import STORE_AWAY

ID = "order-1"
HOUR = 3600.0


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def without_a_store(shop: World, run: Run, since: str, seconds: float) -> None:
    """From the first call of an activity on, its file cannot be opened for so many seconds."""
    working = (shop.store.engine, shop.store.unflushed)
    broken = open_engine("sqlite+aiosqlite:////nowhere/app.db")
    carried_out = run.activity
    began: list[Any] = []

    async def activity(name: str, message: dict[str, Any]) -> Any:
        if name == since and not began:
            began.append(run.clock)
        away = began and run.clock < began[0] + timedelta(seconds=seconds)
        if away:
            shop.store.engine = shop.store.unflushed = broken
        try:
            return await carried_out(name, message)
        finally:
            shop.store.engine, shop.store.unflushed = working

    run.activity = activity


@pytest.mark.parametrize("since", ["record.begin", "inventory.reserve", "record.take"])
@pytest.mark.parametrize("hours", [1, 64])
async def test_an_outage_of_the_store_undoes_nothing_and_ends(
    shop: World, since: str, hours: int
) -> None:
    asked = {**order(ID), "picking_timeout": 200 * HOUR, "pickup_timeout": 200 * HOUR}
    await shop.accept("order_fulfilment", ID, asked)
    run = shop.run("order_fulfilment", ID, asked)
    without_a_store(shop, run, since, hours * HOUR)
    await run.pass_time(hours=hours + 1)
    assert run.status == "RUNNING", run.failure
    for event in ("warehouse.picked", "carrier.picked_up"):
        await shop.keep(ID, event)
        run.raise_event(event.partition(".")[0])
        await run.pass_time(seconds=60)
    assert (run.status, run.output) == ("COMPLETED", "FULFILLED"), run.failure
    assert not {f"{ID}/refund", f"{ID}/release"} & set(shop.effects)
    async with shop.store.reading() as tx:
        assert await interventions.of_instance(tx, ID) == []


async def test_a_provider_that_is_away_after_the_store_is_asked_with_all_patience(
    shop: World,
) -> None:
    asked = {**order(ID), "retry": {"attempts": 3, "first": 0.1, "cap": 1}}
    shop.replies[f"{ID}/reserve"] = [*[ConnectionError("away")] * 3, "applied"]
    await shop.accept("order_fulfilment", ID, asked)
    run = shop.run("order_fulfilment", ID, asked)
    without_a_store(shop, run, "inventory.reserve", HOUR)
    await run.pass_time(hours=2)
    assert f"{ID}/create_shipment" in shop.effects


async def test_tries_without_a_store_are_not_counted_when_a_provider_fails_after_them(
    shop: World,
) -> None:
    asked = {**order(ID), "retry": {"attempts": 3, "first": 4, "cap": 8}}
    shop.replies[f"{ID}/reserve"] = [*[ConnectionError("away")] * 2, "applied"]
    await shop.accept("order_fulfilment", ID, asked)
    run = shop.run("order_fulfilment", ID, asked)
    # As long as the first two of three tries would take, so that the third is the provider's.
    without_a_store(shop, run, "inventory.reserve", 8)
    await run.pass_time(minutes=2)
    assert f"{ID}/create_shipment" in shop.effects
    assert f"{ID}/refund" not in shop.effects


async def test_whoever_wakes_it_once_the_store_is_back_need_not_wait_for_the_next_try(
    shop: World,
) -> None:
    await shop.accept("order_fulfilment", ID, order(ID))
    run = shop.run("order_fulfilment", ID, order(ID))
    without_a_store(shop, run, "inventory.reserve", HOUR)
    await run.pass_time(seconds=HOUR + 1)
    assert f"{ID}/reserve" not in shop.effects
    run.raise_event("wake")
    await run.pass_time(seconds=5)
    assert f"{ID}/reserve" in shop.effects


def test_the_workflows_know_the_error_by_its_name() -> None:
    assert StoreAway.__name__ == STORE_AWAY
