from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from store import interventions
from tests.support.engine import Run
from tests.support.world import World, world

ID = "order-1"
HOUR = 3600


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def order(**changes: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "customer": "c-17",
        "currency": "EUR",
        "lines": [{"sku": "SKU-1", "quantity": 2, "unit_price": 1999}],
        "ship_to": {"name": "A", "line1": "B", "postcode": "10115", "country": "DE"},
        "payment_method": "pm-ok",
        "retry": {"attempts": 3, "first": 0.1, "cap": 1, "undo_for": 0},
        **changes,
    }


async def start(shop: World, **changes: Any) -> Run:
    await shop.accept("order_fulfilment", ID, order(**changes))
    return shop.run("order_fulfilment", ID, order(**changes))


def keys(*names: str) -> list[str]:
    return [f"{ID}/{name}" for name in names]


DONE = keys("charge", "reserve", "create_shipment", "confirm")
UNDONE = keys("cancel_shipment", "release", "refund")


async def picked_up(shop: World) -> None:
    await shop.keep(ID, "warehouse.picked")
    await shop.keep(ID, "carrier.picked_up")


async def test_fulfils_when_the_parcel_has_left(shop: World) -> None:
    run = await (await start(shop)).advance(timers=False)
    assert shop.effects == DONE
    record = await shop.record(ID)
    assert (record["status"], record["waiting_for"]) == ("WAITING", "warehouse")

    await shop.keep(ID, "warehouse.picked")
    run.raise_event("warehouse")
    await run.advance(timers=False)
    assert (await shop.record(ID))["waiting_for"] == "carrier"

    await shop.keep(ID, "carrier.picked_up")
    run.raise_event("carrier")
    await run.advance()
    assert (run.status, run.output) == ("COMPLETED", "FULFILLED")
    assert shop.effects == [*DONE, *keys("notify")]
    assert (await shop.record(ID))["outcome"] == "FULFILLED"


async def test_an_event_that_came_before_its_wait_is_not_lost(shop: World) -> None:
    run = await start(shop)
    await picked_up(shop)
    await run.advance(timers=False)
    assert run.output == "FULFILLED"


async def test_a_wake_up_signal_without_an_event_changes_nothing(shop: World) -> None:
    run = await start(shop)
    for name in ("warehouse", "carrier", "warehouse", "cancel", "intervention", "payment"):
        run.raise_event(name)
    await run.advance(timers=False)
    assert run.status == "RUNNING"
    assert shop.effects == DONE


@pytest.mark.parametrize(
    ("step", "undone"),
    [
        ("charge", ["refund"]),
        ("reserve", ["release", "refund"]),
        ("create_shipment", ["cancel_shipment", "release", "refund"]),
    ],
)
async def test_a_refusal_undoes_in_reverse_what_was_tried(
    shop: World, step: str, undone: list[str]
) -> None:
    shop.replies[f"{ID}/{step}"] = ["refused"]
    run = await (await start(shop)).advance()
    assert run.output == "REFUSED"
    tried = DONE[: DONE.index(f"{ID}/{step}") + 1]
    assert shop.effects == [*tried, *keys(*undone, "notify")]


async def test_a_charge_that_always_fails_is_undone_too(shop: World) -> None:
    shop.replies[f"{ID}/charge"] = [TimeoutError("lost")]
    run = await (await start(shop)).advance()
    assert run.output == "COMPENSATED"
    assert shop.effects == [*keys("charge") * 3, *keys("refund", "notify")]


async def test_a_pending_charge_waits_for_its_settlement(shop: World) -> None:
    shop.replies[f"{ID}/charge"] = ["pending"]
    run = await (await start(shop)).advance(timers=False)
    assert shop.effects == keys("charge")
    await shop.keep(ID, "payment.captured")
    run.raise_event("payment")
    await picked_up(shop)
    await run.advance()
    assert run.output == "FULFILLED"


async def test_a_pending_charge_that_fails_later_is_a_refusal(shop: World) -> None:
    shop.replies[f"{ID}/charge"] = ["pending"]
    await shop.accept("order_fulfilment", ID, order())
    await shop.keep(ID, "payment.failed")
    run = await shop.run("order_fulfilment", ID, order()).advance()
    assert run.output == "REFUSED"
    assert shop.effects == keys("charge", "refund", "notify")


@pytest.mark.parametrize("missing", ["payment", "warehouse", "carrier"])
async def test_a_deadline_that_passes_turns_the_order_down(shop: World, missing: str) -> None:
    if missing == "payment":
        shop.replies[f"{ID}/charge"] = ["pending"]
    run = await start(shop)
    if missing == "carrier":
        await shop.keep(ID, "warehouse.picked")
    await run.advance()
    assert run.output == "COMPENSATED"
    tried, undone = (1, 1) if missing == "payment" else (4, 3)
    assert shop.effects == [*DONE[:tried], *UNDONE[3 - undone :], *keys("notify")]


async def test_an_article_that_cannot_be_found_turns_the_order_down(shop: World) -> None:
    run = await start(shop)
    await shop.keep(ID, "warehouse.not_found")
    await run.advance()
    assert run.output == "COMPENSATED"
    assert shop.effects == [*DONE, *UNDONE, *keys("notify")]


async def test_a_shipment_that_left_while_it_was_cancelled_is_fulfilled(shop: World) -> None:
    shop.replies[f"{ID}/cancel_shipment"] = ["too_late"]
    run = await (await start(shop)).advance()
    assert run.output == "FULFILLED"
    assert shop.effects == [*DONE, *keys("cancel_shipment", "notify")]
    assert (await shop.record(ID))["direction"] == "forward"


async def test_an_event_beats_the_timer_that_fires_with_it(shop: World) -> None:
    run = await (await start(shop, picking_timeout=HOUR)).advance(timers=False)
    await shop.keep(ID, "warehouse.picked")  # kept, but its wake-up signal was lost
    await shop.keep(ID, "carrier.picked_up")
    await run.advance()  # the timer fires
    assert run.output == "FULFILLED"


async def test_cancel_while_waiting_undoes_everything(shop: World) -> None:
    run = await (await start(shop)).advance(timers=False)
    await shop.keep(ID, "cancel", "cancel-1")
    run.raise_event("cancel")
    await run.advance()
    assert run.output == "COMPENSATED"
    assert shop.effects == [*DONE, *UNDONE, *keys("notify")]


async def test_a_failing_undo_goes_on_past_it_and_waits_for_a_person(shop: World) -> None:
    shop.replies[f"{ID}/create_shipment"] = ["refused"]
    shop.replies[f"{ID}/release"] = [ConnectionError("down")]
    run = await (await start(shop)).advance()
    assert run.status == "RUNNING"
    assert shop.effects.index(f"{ID}/refund") > shop.effects.index(f"{ID}/release")
    assert (await shop.record(ID))["status"] == "PARKED"

    async with shop.store.transaction() as tx:
        assert await interventions.answer(tx, f"{ID}/release/1", action="retry", note="", by="a")
        assert not await interventions.answer(
            tx, f"{ID}/release/1", action="settled", note="", by="b"
        )
    run.raise_event("intervention")
    await run.advance()
    assert (await shop.record(ID))["waiting_for"] == f"{ID}/release/2"

    async with shop.store.transaction() as tx:
        assert await interventions.answer(tx, f"{ID}/release/2", action="settled", note="", by="a")
    run.raise_event("intervention")
    await run.advance()
    assert run.output == "REFUSED"


async def test_a_poison_step_is_parked_and_can_be_cancelled(shop: World) -> None:
    shop.replies[f"{ID}/reserve"] = ["parked"]
    run = await (await start(shop)).advance()
    assert (await shop.record(ID))["status"] == "PARKED"
    await shop.keep(ID, "cancel", "cancel-1")
    run.raise_event("cancel")
    await run.advance()
    assert run.output == "COMPENSATED"
    async with shop.store.reading() as tx:
        (incident,) = await interventions.of_instance(tx, ID)
    assert incident["action"] == "overtaken"


async def test_a_second_run_goes_down_when_the_first_had_turned(shop: World) -> None:
    run = await (await start(shop)).advance(timers=False)
    await shop.keep(ID, "warehouse.not_found")
    run.raise_event("warehouse")
    shop.replies[f"{ID}/release"] = [ConnectionError("down")]
    await run.advance()
    first = list(shop.effects)
    shop.effects.clear()
    shop.replies.clear()

    again = await shop.run("order_fulfilment", ID, order()).advance()
    assert first[4] == f"{ID}/cancel_shipment"
    assert again.output == "COMPENSATED"
    # What was answered in the first run is not sent again.
    assert shop.effects == keys("release", "notify")


async def test_a_second_run_finds_the_events_and_the_deadlines_of_the_first(shop: World) -> None:
    run = await (await start(shop, pickup_timeout=HOUR)).advance(timers=False)
    await shop.keep(ID, "warehouse.picked")
    run.raise_event("warehouse")
    await run.advance(timers=False)
    due = (await shop.record(ID))["due_at"]

    again = await shop.run("order_fulfilment", ID, order(pickup_timeout=HOUR)).advance(timers=False)
    record = await shop.record(ID)
    assert (record["waiting_for"], record["due_at"]) == ("carrier", due)
    await shop.keep(ID, "carrier.picked_up")
    again.raise_event("carrier")
    await again.advance()
    assert again.output == "FULFILLED"


async def test_a_run_of_an_ended_or_unknown_instance_does_nothing(shop: World) -> None:
    run = await start(shop)
    await picked_up(shop)
    await run.advance()
    shop.effects.clear()
    assert (await shop.run("order_fulfilment", ID, order()).advance()).output == "FULFILLED"
    stranger = shop.run("order_fulfilment", "nobody", order(id="nobody"))
    assert (await stranger.advance()).output == "NOT_ACCEPTED"
    assert shop.effects == []


async def test_the_customer_is_told_even_when_a_person_has_to_help(shop: World) -> None:
    shop.replies[f"{ID}/notify"] = [ConnectionError("down")]
    run = await start(shop)
    await picked_up(shop)
    await run.advance()
    assert (await shop.record(ID))["status"] == "PARKED"
    shop.replies.clear()
    async with shop.store.transaction() as tx:
        await interventions.answer(tx, f"{ID}/notify/1", action="retry", note="", by="a")
    run.raise_event("intervention")
    await run.advance()
    assert run.output == "FULFILLED"


async def test_a_second_run_remembers_that_the_customer_was_refused(shop: World) -> None:
    shop.replies[f"{ID}/charge"] = ["refused"]
    shop.replies[f"{ID}/refund"] = [ConnectionError("down")]
    await (await start(shop)).advance()
    shop.replies.clear()
    again = await shop.run("order_fulfilment", ID, order()).advance()
    assert again.output == "REFUSED"
