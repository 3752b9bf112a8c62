"""Dispatches that are begun and finished together; whatever is unusual is left to go alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import RowMapping, event, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from store import TIMEOUT, Store, attempts, inbox, interventions, records
from store.dispatches import Closing, Dispatches, Opening
from store.schema import attempts as attempts_table
from store.schema import inbox as inbox_table
from store.schema import records as records_table
from store.schema import waits as waits_table
from tests.app.test_lock_order import some_wait
from workflows.messages import Call, DirectionChange, Ending, Incident, Start, Wait

AT = datetime(2026, 11, 24, 20, 0, 0, 250, UTC)
UNTIL = AT + timedelta(seconds=30)
DUE = AT + timedelta(seconds=90)
INPUT = {"amount": 5}

# What happens to an instance before, and so makes it unusual.
Change = Callable[[AsyncConnection, str], Awaitable[Any]]


async def accept(store: Store, *ids: str) -> None:
    async with store.transaction() as tx:
        for id in ids:
            await records.accept(
                tx, id=id, kind="order", idempotency_key=None, request_hash="h", input=INPUT
            )
            await records.mark_scheduled(tx, id)


def step(id: str, key: str = "charge", **changes: Any) -> Opening:
    call = Call(instance=id, key=f"{id}/{key}", next_key=f"{id}/{key}/2", **changes)
    return Opening("payment.charge", call, AT, UNTIL, "a life")


def first(id: str, **changes: Any) -> Opening:
    asked = {"engine_id": id, "kind": "order", "version": "v1", **changes}
    input_hash = records.content_hash({**INPUT, "id": id})
    return replace(step(id), start=Start(instance=id, **asked), input_hash=input_hash)


def wait(id: str, name: str = "carrier", **changes: Any) -> Wait:
    return Wait(instance=id, name=name, token=f"{name}/1", due=DUE, **changes)


async def row(store: Store, id: str) -> RowMapping:
    async with store.reading() as tx:
        found = await records.get(tx, id)
    assert found is not None
    return found


async def tried(store: Store, id: str) -> list[RowMapping]:
    async with store.reading() as tx:
        return await attempts.of_instance(tx, id)


def values(**new: Any) -> Change:
    """The record is as no ordinary one is."""

    async def change(tx: AsyncConnection, id: str) -> None:
        await tx.execute(update(records_table).where(records_table.c.id == id).values(**new))

    return change


def tries(key: str) -> Change:
    async def change(tx: AsyncConnection, id: str) -> None:
        await attempts.begin(
            tx, instance=id, key=f"{id}/{key}", operation="o", undoes=None, alone=False
        )

    return change


def asks(key: str) -> Change:
    async def change(tx: AsyncConnection, id: str) -> None:
        incident = Incident(instance=id, key=f"{id}/{key}", n=1, kind="step_failed", reason="r")
        await interventions.open_(tx, incident)

    return change


def hears(name: str, by: str | None = None) -> Change:
    async def change(tx: AsyncConnection, id: str) -> None:
        await inbox.keep(
            tx, instance=id, event_id="e-1", name=name, type=f"{name}.came", data={"n": 1}
        )
        if by is not None:
            await inbox.consumed(tx, id, name, "e-1", by=by)

    return change


async def turn_down(tx: AsyncConnection, id: str) -> None:
    await records.turn(tx, DirectionChange(instance=id, direction="down", reason="cancelled"))


async def opens(tx: AsyncConnection, id: str) -> None:
    await inbox.take(tx, wait(id))


async def nothing(tx: AsyncConnection, id: str) -> None:
    pass


UNDO = {"undoes": "odd/charge"}

UNUSUAL_TO_BEGIN: dict[str, tuple[Change, Opening]] = {
    "it has ended": (values(state="ended"), step("odd")),
    "an undo of what has ended": (values(state="ended"), step("odd", "refund", **UNDO)),
    "a later run": (values(runs=1), step("odd")),
    "a do on the way down": (turn_down, step("odd")),
    "a key that was tried": (tries("charge"), step("odd")),
    "another key that follows it was tried": (tries("charge/2"), step("odd")),
    "somebody was asked": (asks("charge"), step("odd")),
    "a cancel that is behind the pivot now": (hears("cancel"), step("odd", must=True)),
    "no record": (nothing, step("unheard-of")),
    "it began before": (tries("another"), first("odd")),
    "somebody cancelled whom it heeds": (hears("cancel"), replace(step("odd"), heeds=True)),
    "a start that is cancelled": (hears("cancel"), first("odd")),
    "a start that was cancelled": (hears("cancel", "cancel/1"), first("odd")),
    "a start on the way down": (turn_down, first("odd")),
    "a start with a reason": (values(reason="too late"), first("odd")),
    "a start that was refused": (values(refused=True), first("odd")),
    "a start under another name": (nothing, first("odd", engine_id="odd~1")),
    "a start of another kind": (nothing, first("odd", kind="task")),
    "a start of another version": (values(version="v2"), first("odd")),
    "a start that says no version": (nothing, first("odd", version=None)),
    "a start with another input": (values(input={"amount": 6}), first("odd")),
}


@pytest.mark.parametrize("case", UNUSUAL_TO_BEGIN)
async def test_what_is_unusual_begins_alone_and_the_others_do_not(store: Store, case: str) -> None:
    change, opening = UNUSUAL_TO_BEGIN[case]
    await accept(store, "odd", "a", "b")
    async with store.transaction() as tx:
        await change(tx, "odd")
    before, rows = await row(store, "odd"), await tried(store, "odd")
    dispatches = Dispatches(store)
    begun = await asyncio.gather(
        *(dispatches.begin(each) for each in (step("b"), opening, first("a")))
    )
    assert [number is None for number in begun] == [False, True, False]
    assert await row(store, "odd") == before
    assert await tried(store, "odd") == rows


ORDINARY_TO_BEGIN: dict[str, tuple[Change, Opening]] = {
    "a step": (nothing, step("one")),
    "an undo on the way down": (turn_down, step("one", "refund", undoes="one/charge")),
    "a must on the way down": (turn_down, step("one", must=True)),
    "a cancel that can be obeyed": (hears("cancel"), step("one")),
    "another step was tried": (tries("another"), step("one")),
    "somebody was asked of another": (asks("another"), step("one")),
    "a must after a cancel that lost": (hears("cancel", "too_late"), step("one", must=True)),
    "a start": (nothing, first("one")),
    "a start whose version is known": (values(version="v1"), first("one")),
}


@pytest.mark.parametrize("case", ORDINARY_TO_BEGIN)
async def test_what_is_ordinary_is_counted_and_shown(store: Store, case: str) -> None:
    change, opening = ORDINARY_TO_BEGIN[case]
    await accept(store, "one")
    async with store.transaction() as tx:
        await change(tx, "one")
        await records.progress(tx, "one", waiting_for="x", due_at=DUE, woken_at=AT)
    taken = await Dispatches(store).begin(opening)
    assert taken is not None
    [*_, made] = await tried(store, "one")
    call = opening.call
    assert made == {
        **dict.fromkeys(("ended_at", "result", "error")),
        "id": taken.number,
        "instance": "one",
        "key": call.key,
        "operation": "payment.charge",
        "undoes": call.undoes,
        "alone": False,
        "process": "a life",
        "begun_at": AT,
        "forgiven": False,
    }
    record = await row(store, "one")
    assert {
        "status": "RUNNING",
        "step": call.key.removeprefix("one/"),
        "progress_at": AT,
        "expected_at": UNTIL,
        "waiting_for": None,
        "due_at": None,
        "woken_at": None,
    }.items() <= dict(record).items()


async def test_a_start_is_noted_once(store: Store) -> None:
    await accept(store, "one")
    await Dispatches(store).begin(first("one"))
    record = await row(store, "one")
    assert (record["started_at"], record["version"]) == (AT, "v1")
    await Dispatches(store).begin(step("one", "reserve"))
    record = await row(store, "one")
    assert (record["started_at"], record["version"], record["pivoted"]) == (AT, "v1", False)


@pytest.mark.parametrize(("change", "pivoted"), [(nothing, True), (turn_down, False)])
async def test_what_must_be_done_is_the_pivot_of_who_goes_forward(
    store: Store, change: Change, pivoted: bool
) -> None:
    await accept(store, "one")
    async with store.transaction() as tx:
        await change(tx, "one")
    assert await Dispatches(store).begin(step("one", must=True)) is not None
    assert (await row(store, "one"))["pivoted"] is pivoted


async def test_of_two_of_one_instance_the_second_goes_alone(store: Store) -> None:
    await accept(store, "one")
    dispatches = Dispatches(store)
    begun = await asyncio.gather(
        dispatches.begin(step("one")), dispatches.begin(step("one", "reserve"))
    )
    assert [number is None for number in begun] == [False, True]


async def begun(store: Store, id: str) -> Closing:
    made = await Dispatches(store).begin(step(id, id))
    assert made is not None
    return Closing(made.number, id, AT, "applied", "why", made.run)


async def test_what_came_back_is_finished_together(store: Store) -> None:
    await accept(store, "a", "b")
    closings = [await begun(store, "a"), await begun(store, "b")]
    untouched = await row(store, "a")
    dispatches = Dispatches(store)
    assert await asyncio.gather(*(dispatches.finish(each) for each in closings)) == [True, True]
    for id in ("a", "b"):
        [made] = await tried(store, id)
        assert (made["ended_at"], made["result"], made["error"]) == (AT, "applied", "why")
    assert await row(store, "a") == untouched


async def opened(store: Store) -> list[dict[str, Any]]:
    async with store.reading() as tx:
        return [dict(each) for each in (await tx.execute(select(waits_table))).mappings()]


async def test_a_wait_opens_with_the_dispatch_before_it(store: Store) -> None:
    await accept(store, "one")
    closing = replace(await begun(store, "one"), waits=(wait("one"),))
    assert await Dispatches(store).finish(closing)
    [made] = await opened(store)
    assert made == {
        "instance": "one",
        "token": "carrier/1",
        "name": "carrier",
        "due_at": DUE,
        "state": "open",
        "event_id": None,
    }
    record = await row(store, "one")
    shown = ("status", "step", "waiting_for", "due_at", "expected_at", "progress_at")
    assert [record[name] for name in shown] == ["WAITING", None, "carrier", DUE, DUE, AT]


async def test_a_deadline_that_is_fixed_ahead_leaves_the_instance_at_work(store: Store) -> None:
    await accept(store, "one")
    closing = await begun(store, "one")
    assert await Dispatches(store).finish(replace(closing, waits=(wait("one", ahead=True),)))
    record = await row(store, "one")
    shown = ("status", "step", "waiting_for", "due_at", "expected_at")
    assert [record[name] for name in shown] == ["RUNNING", "one", None, None, AT]


async def test_the_last_dispatch_ends_the_record_and_hands_over_what_was_not_heard(
    store: Store,
) -> None:
    await accept(store, "one")
    async with store.transaction() as tx:
        await hears("carrier")(tx, "one")
        await hears("payment", "payment/1")(tx, "one")
    ending = Ending(instance="one", outcome="DONE", reason="r", detail={"by": "é'\""})
    closing = replace(await begun(store, "one"), ending=ending)
    assert await Dispatches(store).finish(closing)
    record = await row(store, "one")
    shown = ("state", "status", "step", "outcome", "reason", "detail", "ended_at", "expected_at")
    assert [record[name] for name in shown] == [
        *("ended", "ENDED", None, "DONE", "r", {"by": "é'\""}, AT, None)
    ]
    async with store.reading() as tx:
        rows = (await tx.execute(select(inbox_table).order_by(inbox_table.c.name))).mappings().all()
    assert [each["next_raise_at"] for each in rows] == [AT, None]


END = {"ending": Ending(instance="odd", outcome="DONE")}
OPEN = {"waits": (wait("odd"),)}

UNUSUAL_TO_FINISH: dict[str, tuple[Change, dict[str, Any]]] = {
    "an ending of what has ended": (values(state="ended"), END),
    "a wait of what has ended": (values(state="ended"), OPEN),
    "another run since": (values(runs=1), END),
    "another name since": (values(engine_id="odd~1"), OPEN),
    "it turned since": (values(direction="down"), OPEN),
    "a wait that was opened": (opens, OPEN),
    "an event is there": (hears("carrier"), OPEN),
    "the wait took an event before": (hears("carrier", "carrier/1"), OPEN),
    "a wait for a cancel": (nothing, {"waits": (wait("odd", "cancel"),)}),
    "a wait that only looks": (
        nothing,
        {"waits": (wait("odd").model_copy(update={"due": None}),)},
    ),
    "a wait whose timer has fired": (nothing, {"waits": (wait("odd", final=True),)}),
    "two riders that exclude each other": (nothing, {**END, **OPEN}),
}


@pytest.mark.parametrize("case", UNUSUAL_TO_FINISH)
async def test_what_is_unusual_finishes_alone_and_the_others_do_not(
    store: Store, case: str
) -> None:
    change, riders = UNUSUAL_TO_FINISH[case]
    await accept(store, "odd", "a", "b")
    a, odd, b = [await begun(store, id) for id in ("a", "odd", "b")]
    async with store.transaction() as tx:
        await change(tx, "odd")
    before, waiting = await row(store, "odd"), await opened(store)
    dispatches = Dispatches(store)
    all_ = (replace(b, waits=(wait("b"),)), replace(odd, **riders), a)
    assert await asyncio.gather(*map(dispatches.finish, all_)) == [True, False, True]
    assert await row(store, "odd") == before
    assert [each["result"] for each in await tried(store, "odd")] == [None]
    assert [each for each in await opened(store) if each["instance"] == "odd"] == waiting


async def test_an_event_that_another_wait_took_is_nothing_unusual(store: Store) -> None:
    await accept(store, "one")
    async with store.transaction() as tx:
        await hears("carrier", "carrier/0")(tx, "one")
        await hears("payment")(tx, "one")
    closing = replace(await begun(store, "one"), waits=(wait("one"),))
    assert await Dispatches(store).finish(closing)


async def test_a_record_that_somebody_changes_just_now_goes_alone_and_nobody_waits(
    store: Store,
) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("there, one writer at a time is what holds")
    await accept(store, "odd", "a")
    dispatches = Dispatches(store)
    async with store.transaction() as tx:
        await records.get(tx, "odd", lock=True)
        async with asyncio.timeout(TIMEOUT / 2):
            assert await dispatches.begin(step("odd")) is None
            assert await dispatches.begin(step("a")) is not None


async def keep(store: Store) -> bool:
    async with store.transaction() as tx:
        return await inbox.keep(
            tx, instance="one", event_id="e", name="carrier", type="carrier.came", data={}
        )


def before(store: Store, part: str, act: Callable[[], object]) -> None:
    """Acts once, just before a statement that has this part."""
    acted: list[object] = []

    @event.listens_for(store.engine.sync_engine, "before_cursor_execute")
    def look(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if part in statement and not acted:
            acted.append(True)
            act()


async def test_who_waits_is_told_of_an_event_that_came_while_the_wait_opened(
    database_url: str, store: Store
) -> None:
    await accept(store, "one")
    closing = replace(await begun(store, "one"), waits=(wait("one"),))
    other = Store(database_url)
    keeping: list[asyncio.Task[bool]] = []

    async def begins_to_keep() -> None:
        keeping.append(asyncio.create_task(keep(store)))
        waits_for_us = asyncio.create_task(some_wait(other))
        await asyncio.wait((keeping[0], waits_for_us), return_when=asyncio.FIRST_COMPLETED)
        waits_for_us.cancel()

    before(store, "INSERT INTO waits", lambda: await_only(begins_to_keep()))
    assert await Dispatches(store).finish(closing)
    assert await keeping[0]
    async with store.reading() as tx:
        [made] = (await tx.execute(select(inbox_table))).mappings()
    assert made["next_raise_at"] is not None
    await other.close()


async def test_an_event_that_came_just_before_the_lock_is_seen(
    database_url: str, store: Store
) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("there, nobody else writes once a batch has begun")
    await accept(store, "one")
    closing = replace(await begun(store, "one"), waits=(wait("one"),))
    other = Store(database_url)
    before(store, "SKIP LOCKED", lambda: await_only(keep(other)))
    assert not await Dispatches(store).finish(closing), "it is to be taken, not waited for"
    await other.close()


async def test_batches_of_two_replicas_in_opposite_orders_do_not_wait_for_each_other(
    database_url: str, store: Store
) -> None:
    ids = [f"i-{n:02}" for n in range(24)]
    await accept(store, *ids)
    other = Store(database_url)
    try:
        for name in ("charge", "reserve", "ship"):
            ours, theirs = Dispatches(store), Dispatches(other)
            async with asyncio.timeout(20):
                numbers = await asyncio.gather(
                    *(ours.begin(step(id, name)) for id in ids),
                    *(theirs.begin(step(id, f"{name}-too")) for id in reversed(ids)),
                )
            one, two = numbers[: len(ids)], numbers[len(ids) :][::-1]
            assert all(a is not None or b is not None for a, b in zip(one, two, strict=True))
    finally:
        await other.close()


async def test_a_batch_whose_store_has_lost_a_table_goes_alone_each(store: Store) -> None:
    await accept(store, "one")
    async with store.transaction() as tx:
        await tx.execute(text("ALTER TABLE interventions RENAME TO elsewhere"))
    assert await Dispatches(store).begin(step("one")) is None
    async with store.transaction() as tx:
        await tx.execute(text("ALTER TABLE elsewhere RENAME TO interventions"))
    assert await Dispatches(store).begin(step("one")) is not None


async def test_a_batch_whose_connection_dies_loses_nothing(store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("there is no server that could end a connection")
    await accept(store, "a", "b")
    dispatches = Dispatches(store)
    assert await dispatches.begin(step("a")) is not None
    closing = await begun(store, "b")
    async with store.transaction() as tx:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        await tx.execute(
            text(f"{others} WHERE datname = current_database() AND pid <> pg_backend_pid()")
        )
    assert await dispatches.begin(step("a", "reserve")) is None
    assert await dispatches.begin(step("a", "reserve")) is not None
    assert await dispatches.finish(closing)
    counted = select(attempts_table.c.result).order_by(attempts_table.c.id)
    async with store.reading() as tx:
        assert (await tx.execute(counted)).scalars().all() == [None, "applied", None]
