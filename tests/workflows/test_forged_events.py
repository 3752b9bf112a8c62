"""Wake-up signals that carry something: nothing of it is believed, and somebody is told once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from store import audit_trail, interventions
from tests.support.sagas import task
from tests.support.shop import order
from tests.support.world import World, world

ID = "order-1"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def forged(shop: World) -> list[str]:
    async with shop.store.reading() as tx:
        rows = await interventions.of_instance(tx, ID)
    return [row["id"] for row in rows if row["kind"] == "forged"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cancel", {"by": "op-1"}),
        ("cancel", "now"),
        ("warehouse", {"type": "warehouse.not_found", "data": {}}),
        ("warehouse", {"event_id": "e-1", "type": "warehouse.picked", "data": {}}),
        ("warehouse", ["warehouse.picked"]),
    ],
)
async def test_a_forged_event_moves_nothing(shop: World, name: str, data: Any) -> None:
    await shop.accept("order_fulfilment", ID, order(ID))
    run = await shop.run("order_fulfilment", ID, order(ID)).advance(timers=False)
    done = list(shop.effects)
    for _ in range(3):
        run.raise_event(name, data)
        await run.advance(timers=False)
    assert (await shop.record(ID))["waiting_for"] == "warehouse"
    assert (run.status, shop.effects) == ("RUNNING", done)
    assert await forged(shop) == [f"{ID}/raised-{name}/1"]


@pytest.mark.parametrize("action", ["retry", "settled"])
async def test_a_forged_answer_settles_nothing(shop: World, action: str) -> None:
    shop.replies[f"{ID}/create_record"] = ["parked"]
    await shop.accept("task_processing", ID, {**task(ID), "effort": 1})
    run = await shop.run("task_processing", ID, {**task(ID), "effort": 1}).advance()
    done, asked = list(shop.effects), (await shop.record(ID))["waiting_for"]
    run.raise_event("intervention", {"action": action, "id": asked})
    await run.advance()
    record = await shop.record(ID)
    assert (record["status"], record["waiting_for"]) == ("PARKED", asked)
    assert (run.status, shop.effects) == ("RUNNING", done)
    assert await forged(shop) == [f"{ID}/raised-intervention/1"]


async def test_our_own_wake_up_signals_alarm_nobody(shop: World) -> None:
    shop.replies[f"{ID}/notify"] = ["rejected"]
    await shop.accept("order_fulfilment", ID, order(ID))
    run = await shop.run("order_fulfilment", ID, order(ID)).advance(timers=False)
    for name in ("cancel", "warehouse", "carrier"):
        run.raise_event(name)
    await run.advance()
    run.raise_event("intervention")
    await run.advance()
    assert (await shop.record(ID))["status"] == "PARKED"
    assert await forged(shop) == []


async def test_attempts_at_a_decision_past_the_api_are_bounded(shop: World) -> None:
    """Whoever raises a thousand makes nobody read a thousand letters."""
    asked = {
        "title": "a press",
        "requester": "r-1",
        "action": "buy",
        "automatic": False,
        "approvers": ["a-1"],
        "director": "d-1",
        "id": ID,
    }
    await shop.accept("approval", ID, asked)
    run = await shop.run("approval", ID, asked).advance(timers=False)
    for number in range(audit_trail.REFUSALS + 10):
        run.raise_event("approval_received", {"approved": True, "event_id": f"e-{number}"})
        await run.advance(timers=False)
    assert (await shop.record(ID))["waiting_for"] == "approval_received"
    first = f"{ID}/refused-it-carries-no-signed-decision/1"
    assert await forged(shop) == [first, f"{ID}/decisions/1"], "and one that says there are more"
    async with shop.store.reading() as tx:
        told = await interventions.get(tx, first)
        assert told is not None
        assert f"({audit_trail.REFUSALS} times)" in told["reason"]
        assert len(await audit_trail.page(tx, ID, 0, 1000)) == audit_trail.REFUSALS
