"""Monitors on both databases: many runs at once compare once, and apply each control once."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import update

from activities.signed_controls import admit
from store import Store, inbox, monitor_controls, monitors, records
from store.schema import records as table
from tests.app.people import later
from tests.support.site import bearer, site
from tests.support.world import KEY, signed_control
from workflows.health_monitor import (
    Alert,
    Change,
    Control,
    Damping,
    Finding,
    Health,
    Monitor,
    PlanRequest,
    Round,
)

ID = "monitor-1"


async def accept(store: Store, **changes: Any) -> None:
    made = Monitor.accepted({"url": "http://service.test/", **changes}).model_dump(mode="json")
    async with store.transaction() as tx:
        await records.accept(
            tx, id=ID, kind="health_monitor", idempotency_key=None, request_hash="h", input=made
        )


async def compare(store: Store, generation: int, healthy: bool) -> Round:
    finding = Finding(instance=ID, generation=generation, health=Health(healthy=healthy))
    async with store.transaction() as tx:
        return await monitors.compare(tx, finding)


async def plan(store: Store, generation: int, *raised: Any) -> Round:
    look = PlanRequest(instance=ID, generation=generation, at=records.now(), raised=list(raised))
    async with store.transaction() as tx:
        await admit(tx, KEY, look)
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
            await monitor_controls.keep(tx, ID, control)

    past = [signed_control(ID, "pause", f"p-{number}") for number in range(10)]
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
        await monitor_controls.keep(tx, ID, Control(event_id="e-1", action="pause"))
    with pytest.raises(records.Conflict):
        async with store.transaction() as tx:
            await monitor_controls.keep(tx, ID, Control(event_id="e-1", action="stop"))


async def script(store: Store, health: str, step: float, since: float = 0) -> list[str]:
    """The alerts of checks `step` seconds apart, each found by two runs; + is a good one."""
    said = []
    async with store.reading() as tx:
        state = await monitors.get(tx, ID)
    first = state["generation"] if state else 0
    for number, sign in enumerate(health, 1):
        with later(seconds=since + step * number):
            found = await compare(store, first + number, sign == "+")
            again = await compare(store, first + number, sign != "+")
            assert found.alerts == again.alerts
            said += await tell(store, found)
    return said


HOUR = 3600.0
QUIET = ["1/warning", "1/recovery", "2/warning", "2/recovery", "3/warning", "3/recovery"]


async def test_a_service_that_flaps_is_told_once_and_once_when_it_is_stable(store: Store) -> None:
    """Down at every second check for two days, then well: six alerts, and not ninety-six."""
    await accept(store)
    said = await script(store, "-+" * 48, HOUR / 2)
    assert said == [*QUIET, "4/warning", "4/recovery", "5/flapping"]
    async with store.reading() as tx:
        state = await monitors.get(tx, ID)
    assert state is not None
    assert state["flapping"] == 5
    said = await script(store, "+" * 10, HOUR, since=48 * HOUR)
    assert said == ["5/stable"]
    async with store.reading() as tx:
        rows, state = await monitors.page(tx, ID, 0, 100), await monitors.get(tx, ID)
    assert state is not None
    assert state["flapping"] is None
    assert (len(rows), all(row["done"] for row in rows)) == (48, True)


async def test_what_was_held_back_counts_no_more_once_it_is_stable(store: Store) -> None:
    await accept(store)
    await script(store, "-+" * 10, HOUR / 2)
    await script(store, "+" * 8, HOUR, since=10 * HOUR)
    said = await script(store, "-+-+", HOUR / 2, since=18 * HOUR)
    assert said == ["11/warning", "11/recovery", "12/warning", "12/recovery"]


async def test_what_is_critical_is_never_held_back_nor_is_its_recovery(store: Store) -> None:
    await accept(store)
    said = await script(store, "-+" * 5 + "---+" * 2, HOUR / 4)
    assert said[-5:] == ["5/flapping", "6/critical", "6/recovery", "7/critical", "7/recovery"]


async def test_it_is_not_stable_while_it_is_down(store: Store) -> None:
    await accept(store)
    await script(store, "-+" * 5, HOUR / 4)
    said = await script(store, "-" * 24 + "+++", HOUR, since=3 * HOUR)
    assert said == ["6/critical", "6/recovery"]
    assert await script(store, "++++", HOUR, since=30 * HOUR) == ["5/stable"]


async def test_a_service_that_fails_once_a_day_does_not_flap(store: Store) -> None:
    await accept(store)
    said = await script(store, ("-" + "+" * 23) * 7, HOUR)
    assert said == [f"{n}/{what}" for n in range(1, 8) for what in ("warning", "recovery")]


async def test_a_monitor_that_asks_for_every_alert_gets_it(store: Store) -> None:
    await accept(store, damping=Damping(within=0))
    said = await script(store, "-+" * 12, 1)
    assert said == [f"{n}/{what}" for n in range(1, 13) for what in ("warning", "recovery")]


async def test_incidents_that_cannot_be_told_hide_no_later_one(store: Store) -> None:
    """Twelve warnings that the notifier refuses for good; the thirteenth goes out."""
    await accept(store, damping=Damping(within=0))
    for generation in range(1, 25):
        found = await compare(store, generation, generation % 2 == 0)
        for alert in found.alerts:
            async with store.transaction() as tx:
                await monitors.untold(tx, ID, alert.incident)
    found = await compare(store, 25, False)
    assert found.alerts[0] == Alert(incident=13, what="warning")
    # And those that were not told are tried again in turn, not always the same ten.
    tried = set()
    for generation in range(26, 30):
        for alert in (await compare(store, generation, False)).alerts:
            tried.add(alert.incident)
            async with store.transaction() as tx:
                await monitors.untold(tx, ID, alert.incident)
    assert tried == set(range(1, 14))


# The release before took this for the address of a host.
FORMER = "http://a:b:c/health"


async def test_a_monitor_whose_url_would_be_refused_today_goes_on(store: Store) -> None:
    await accept(store, url=FORMER)
    data = {"action": "update", "settings": {"url": f"{FORMER}/2"}}
    kept = {"event_id": "e-1", "name": monitor_controls.NAME, "type": "control.update"}
    async with store.transaction() as tx:
        await inbox.keep(tx, instance=ID, data=data, **kept)
    planned = await plan(store, 1)
    assert (planned.check, planned.checks.url) == (True, f"{FORMER}/2")
    with pytest.raises(ValidationError):
        Control.model_validate(data)


async def test_a_monitor_that_cannot_be_read_is_shown_as_it_is(database_url: str) -> None:
    async with site(database_url) as office:
        await accept(office.store)
        async with office.store.transaction() as tx:
            await tx.execute(update(table).values(input={"url": "no longer one", "notify": "me"}))
        shown = await office.http.get(f"/monitors/{ID}", headers=bearer("op-1", "operator"))
    assert (shown.status_code, shown.json()["settings"]) == (200, {"url": "no longer one"})


ADDRESSES = ["::ffff:10.0.0.1", "64:ff9b::192.0.2.1", "1:2:3:4:5:6:7.8.9.0", "::1.2.3.4", "fe80::1"]
NONE = ["::1.2.3.256", "1:2:3:4:5:6:7:1.2.3.4", "1::2::1.2.3.4", "1.2.3.4", "::01.2.3.4", "::1.2.3"]


@pytest.mark.parametrize("address", [*ADDRESSES, *NONE])
def test_an_address_may_end_in_four_bytes(address: str) -> None:
    try:
        ipaddress.IPv6Address(address)
        Change(url=f"http://[{address}]:8080/health")
    except ValueError:
        assert address in NONE
    else:
        assert address in ADDRESSES
