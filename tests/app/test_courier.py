"""Alerts, reminders, escalations and late events, on both databases and beside a second replica."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from app.notices import Pace
from store import Store, attempts, inbox, interventions, records
from tests.app.people import (
    ID,
    Provider,
    accept,
    answer,
    consumers,
    couriers,
    end,
    hear,
    intervention,
    later,
    open_,
    rounds,
)

AWAY = httpx.ConnectError("refused")


async def opened(store: Store, **changes: Any) -> str:
    await accept(store)
    return (await open_(store, **changes)).id


async def kept(store: Store, key: str) -> list[str | None]:
    """The results of the dispatches of a key that are shown of its instance."""
    async with store.reading() as tx:
        return [row["result"] for row in await attempts.of_instance(tx, ID) if row["key"] == key]


async def test_an_alert_that_the_notifier_rejected_was_not_sent(store: Store) -> None:
    id = await opened(store)
    provider = Provider(says=lambda *_: (401, {"detail": "no credential"}))
    async with couriers(store, provider) as (courier,):
        await rounds(courier)
        assert (await intervention(store))["alerted_at"] is None
        provider.says = lambda *_: None
        with later(minutes=1):
            await rounds(courier)
    assert provider.sent() == [f"{id}/alert"]
    assert (await intervention(store))["alerted_at"] is not None


async def test_an_alert_that_fails_is_tried_ever_more_rarely(store: Store) -> None:
    """A notifier away for a day: a hundred tries, no row for each, and then it is told."""
    id = await opened(store)
    provider, tries = Provider(says=lambda *_: AWAY), []
    async with couriers(store, provider, 2) as replicas:
        for minute in range(24 * 60):
            with later(minutes=minute):
                if (await intervention(store))["alert_at"] <= records.now():
                    await rounds(*replicas)
            tries.append(provider.asked[f"{id}/alert"])
        assert 90 < tries[-1] < 130
        assert tries[10] < 12
        assert await kept(store, f"{id}/alert") == ["fault", "fault"]
        provider.says = lambda *_: None
        with later(days=1, hours=1):
            await rounds(*replicas)
    assert provider.sent().count(f"{id}/alert") == 1


async def test_of_two_replicas_one_sends(store: Store) -> None:
    ids = []
    for number in range(20):
        await accept(store, f"order-{number}")
        ids.append((await open_(store, f"order-{number}")).id)
    provider = Provider()
    async with couriers(store, provider, 4) as replicas:
        await rounds(*replicas)
    assert sorted(provider.asked.elements()) == sorted(f"{id}/alert" for id in ids)


async def test_a_notifier_that_is_slow_is_not_asked_again_meanwhile(
    store: Store, monkeypatch: Any
) -> None:
    monkeypatch.setattr("app.courier.CLAIM", 0.2)
    monkeypatch.setattr("store.pauses.CLAIM", 0.5)
    monkeypatch.setattr("store.pauses.LONGEST", 0.5)
    id, go = await opened(store), asyncio.Event()

    async def slow() -> tuple[int, dict[str, str]]:
        await go.wait()
        return 200, {"result": "applied"}

    provider = Provider(says=lambda *_: slow())
    async with couriers(store, provider, 2) as (first, second):
        await first.sweep()
        until = asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < until:
            await second.sweep()
            await asyncio.sleep(0.05)
        go.set()
        await rounds(first, second)
    assert provider.asked == {f"{id}/alert": 1}


async def test_who_dies_with_a_claim_leaves_it_to_another(store: Store) -> None:
    id = await opened(store)
    async with store.transaction() as tx:
        assert len(await interventions.claim_untold(tx, 10)) == 1
    provider = Provider()
    async with couriers(store, provider) as (courier,):
        await rounds(courier)
        assert provider.sent() == []
        with later(seconds=6):
            await rounds(courier)
    assert provider.sent() == [f"{id}/alert"]


async def test_an_open_intervention_reminds_and_escalates_once(store: Store) -> None:
    id = await opened(store)
    provider = Provider()
    async with couriers(store, provider) as (courier,):
        for hour in range(24 * 4):
            with later(hours=hour, seconds=1):
                await rounds(courier)
    reminders = [f"{id}/remind/{number}" for number in (1, 2, 3, 4)]
    assert [key for key in provider.sent() if "/remind/" in key] == reminders
    assert provider.sent().count(f"{id}/escalate") == 1
    assert len(provider.sent()) == 6
    escalation = next(one for one in provider.letters if one["key"].endswith("/escalate"))
    assert (escalation["to"], escalation["about"]) == ("duty-manager", id)
    row = await intervention(store)
    assert (row["reminders"], row["escalated_at"] is not None) == (4, True)
    # The attempts of earlier reminders are not shown for ever.
    async with store.reading() as tx:
        keys = [row["key"] for row in await attempts.of_instance(tx, ID)]
    assert keys == [f"{id}/alert", f"{id}/escalate", f"{id}/remind/4"]


async def test_an_answer_ends_reminders_and_alerts(store: Store) -> None:
    id = await opened(store)
    provider = Provider()
    async with couriers(store, provider) as (courier,):
        await rounds(courier)
        await answer(store)
        for day in range(1, 5):
            with later(days=day):
                await rounds(courier)
    assert provider.sent() == [f"{id}/alert"]


async def test_an_answer_while_a_reminder_is_under_way_is_the_last_word(store: Store) -> None:
    await opened(store)

    async def meanwhile() -> tuple[int, dict[str, str]]:
        await answer(store)
        return 200, {"result": "applied"}

    provider = Provider(says=lambda *_: meanwhile())
    async with couriers(store, provider) as (courier,):
        await rounds(courier)
    assert (await intervention(store))["alert_at"] is None


async def test_after_an_outage_nobody_gets_a_week_of_reminders_at_once(store: Store) -> None:
    id = await opened(store)
    provider = Provider()
    async with couriers(store, provider) as (courier,):
        await rounds(courier)
        for minute in range(20):
            with later(days=7, minutes=minute):
                await rounds(courier)
    assert provider.sent() == [f"{id}/alert", f"{id}/remind/1", f"{id}/escalate"]


async def test_an_escalation_does_not_wait_for_an_alert_that_fails(store: Store) -> None:
    id = await opened(store)
    refused = (200, {"result": "refused", "reason": "unknown recipient"})
    provider = Provider(says=lambda _, key: refused if key.endswith("/alert") else None)
    async with couriers(store, provider, pace=Pace(escalate_after=60)) as (courier,):
        await rounds(courier)
        with later(seconds=61):
            await rounds(courier)
    assert provider.sent() == [f"{id}/escalate"]


async def test_sixty_four_refunds_that_fail_keep_no_other_event_back(store: Store) -> None:
    for number in range(64):
        await accept(store, f"order-{number}")
        await end(store, "REFUSED", f"order-{number}")
        await hear(store, "payment.captured", id=f"order-{number}")
    await accept(store, "the-65th")
    await end(store, "REFUSED", "the-65th")
    await hear(store, "payment.captured", id="the-65th")
    provider = Provider(says=lambda _, key: None if key.startswith("the-65th") else AWAY)
    async with couriers(store, provider) as (courier,):
        for second in range(3):
            with later(seconds=second):
                await rounds(courier)
    assert provider.asked["the-65th/late_refund"] == 1
    assert await consumers(store, "payment.captured", "the-65th") == ["courier"]
    assert max(provider.asked.values()) == 1


async def test_a_pending_late_refund_is_asked_for_again_and_in_the_end_told(store: Store) -> None:
    await accept(store)
    await end(store, "REFUSED")
    await hear(store, "payment.captured")
    provider = Provider(says=lambda *_: (202, {"result": "pending"}))
    async with couriers(store, provider) as (courier,):
        for quarter in range(1, 110):
            with later(minutes=16 * quarter):
                await rounds(courier)
            if quarter == 50:
                assert await intervention(store, f"{ID}/payment.captured/1") is None
        assert await consumers(store, "payment.captured") == [None]
        asked = await intervention(store, f"{ID}/payment.captured/1")
        assert asked is not None
        provider.says = lambda *_: None
        with later(days=2):
            await rounds(courier)
    assert await consumers(store, "payment.captured") == ["courier"]
    assert await kept(store, f"{ID}/late_refund") == ["pending", "applied"]


async def test_an_event_of_an_unknown_type_is_consumed_as_ignored(store: Store) -> None:
    await accept(store)
    await hear(store, "carrier.delayed", "early")
    await end(store, "FULFILLED")
    await hear(store, "carrier.lost_in_space", "late")
    provider = Provider()
    async with couriers(store, provider) as (courier,):
        await rounds(courier)
    assert await consumers(store, "carrier.delayed") == ["ignored"]
    assert await consumers(store, "carrier.lost_in_space") == ["ignored"]
    async with store.reading() as tx:
        assert await interventions.of_instance(tx, ID) == []


async def test_what_contradicts_the_outcome_is_asked_once(store: Store) -> None:
    await accept(store)
    await end(store, "FULFILLED")
    for number in range(3):
        await hear(store, "payment.failed", f"e-{number}")
    provider = Provider()
    async with couriers(store, provider) as (courier,):
        await rounds(courier)
        await rounds(courier)
    assert provider.sent() == [f"{ID}/payment.failed/1/alert"]


async def test_the_answer_to_what_blocks_nobody_rings_nowhere(store: Store) -> None:
    await opened(store, blocking=False)
    await answer(store)
    assert await rung(store, days=2) == []


async def test_an_answer_that_nobody_reads_rings_until_the_end_and_no_longer(store: Store) -> None:
    id = await opened(store)
    await answer(store)
    assert await rung(store) == [id]
    await end(store, "COMPENSATED")
    assert await rung(store, days=1) == []
    assert (await intervention(store))["next_raise_at"] is None


async def test_an_event_that_nobody_waits_for_is_not_looked_at_again_and_again(
    store: Store,
) -> None:
    await accept(store)
    await hear(store, "warehouse.picked")
    async with store.reading() as tx:
        (row,) = await inbox.named(tx, ID, "warehouse")
    assert row["next_raise_at"] is None


async def rung(store: Store, **by: float) -> list[str]:
    with later(**by):
        async with store.transaction() as tx:
            return [row["id"] for row in await interventions.claim_unraised(tx, 10)]


async def test_late_money_of_a_workflow_that_is_not_there_is_a_persons(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.WORKFLOWS", ())
    await accept(store)
    await end(store, "COMPENSATED")
    await hear(store, "payment.captured")
    provider = Provider()
    async with couriers(store, provider) as (courier,):
        for quarter in range(1, 200):
            with later(minutes=16 * quarter):
                await rounds(courier)
    assert not provider.asked.get(f"{ID}/late_refund")
    async with store.reading() as tx:
        [asked] = await interventions.of_instance(tx, ID)
    assert (asked["kind"], asked["blocking"]) == ("contradiction", False)
    assert "this release knows no order_fulfilment" in asked["reason"]
    # For a release that knows it, it is still there.
    assert await consumers(store, "payment.captured") == [None]
