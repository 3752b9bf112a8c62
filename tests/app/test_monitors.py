"""Monitors on both databases: many runs at once compare once, and apply each control once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.store import Store, controls, monitors, records
from workflows.health_monitor import Control, Finding, Health, Look, Monitor, Round

ID = "monitor-1"


async def accept(store: Store) -> None:
    made = Monitor(id=ID, url="http://service.test/").model_dump(mode="json")
    async with store.transaction() as tx:
        await records.accept(
            tx, id=ID, kind="health_monitor", idempotency_key=None, request_hash="h", input=made
        )


async def compare(store: Store, generation: int, healthy: bool) -> Round:
    finding = Finding(instance=ID, generation=generation, health=Health(healthy=healthy))
    async with store.transaction() as tx:
        return await monitors.compare(tx, finding)


async def plan(store: Store, generation: int, *raised: Any) -> Round:
    look = Look(instance=ID, generation=generation, at=records.now(), raised=list(raised))
    async with store.transaction() as tx:
        return await monitors.plan(tx, look)


async def tell(store: Store, found: Round) -> list[str]:
    for alert in found.alerts:
        async with store.transaction() as tx:
            await monitors.told(tx, ID, alert.incident, alert.what)
    return [f"{alert.incident}/{alert.what}" for alert in found.alerts]


async def test_ten_runs_at_once_make_one_comparison(store: Store) -> None:
    await accept(store)
    said = []
    for generation, healthy in enumerate((False, False, False, True, False), 1):
        found = await asyncio.gather(*(compare(store, generation, healthy) for _ in range(10)))
        assert all(one.alerts == found[0].alerts for one in found)
        said += await tell(store, found[0])
    assert said == ["1/warning", "1/critical", "1/recovery", "2/warning"]
    async with store.reading() as tx:
        rows = await monitors.page(tx, ID, 0, 10)
    assert [(row["n"], row["done"]) for row in rows] == [(1, True), (2, False)]


async def test_a_run_that_was_overtaken_is_told_where_the_others_are(store: Store) -> None:
    await accept(store)
    await compare(store, 1, True)
    await compare(store, 2, True)
    late = await compare(store, 1, False)
    assert (late.generation, late.check, late.alerts) == (2, False, [])
    again = await plan(store, 1)
    assert (again.generation, again.check) == (2, False)
    assert again.sleep is not None
    assert 3590 < again.sleep <= 3600


async def test_controls_of_ten_callers_are_applied_once_by_ten_runs(store: Store) -> None:
    await accept(store)
    await plan(store, 1)

    async def say(number: int) -> None:
        control = Control.model_validate(
            {"action": "update", "event_id": f"e-{number}", "settings": {"critical_after": 5}}
        )
        async with store.transaction() as tx:
            await controls.keep(tx, ID, control)

    past = [{"action": "pause", "event_id": f"p-{number}"} for number in range(10)]
    await asyncio.gather(
        *(say(number % 10) for number in range(20)), *(plan(store, 1, *past) for _ in range(10))
    )
    found = await plan(store, 1)
    async with store.reading() as tx:
        state = await monitors.get(tx, ID)
    assert state is not None
    assert (state["controls"], found.check, found.sleep) == (20, False, None)
    assert found.checks.critical_after == 5


async def test_an_event_id_that_is_used_for_another_control_is_refused(store: Store) -> None:
    await accept(store)
    async with store.transaction() as tx:
        await controls.keep(tx, ID, Control(event_id="e-1", action="pause"))
    with pytest.raises(records.Conflict):
        async with store.transaction() as tx:
            await controls.keep(tx, ID, Control(event_id="e-1", action="stop"))
