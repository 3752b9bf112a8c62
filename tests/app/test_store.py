from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event

from store import Store, attempts, inbox, interventions, leases, records, runs
from store.migrate import migrate
from store.schema import metadata
from workflows.messages import Ending, Incident, Start, Wait, WaitResult

ID = "order-1"


async def accept(store: Store, id: str | None = ID, key: str | None = None, hash: str = "h") -> Any:
    async with store.transaction() as tx:
        return await records.accept(
            tx, id=id, kind="order_fulfilment", idempotency_key=key, request_hash=hash, input={}
        )


async def keep(store: Store, event_id: str, **changes: Any) -> bool:
    event = {"name": "carrier", "type": "carrier.picked_up", "data": {}, **changes}
    async with store.transaction() as tx:
        return await inbox.keep(tx, instance=ID, event_id=event_id, **event)


async def take(store: Store, *, final: bool = False, token: str = "carrier/1") -> WaitResult:
    due = records.now() + timedelta(hours=1)
    wait = Wait(instance=ID, name="carrier", token=token, due=due, final=final)
    async with store.transaction() as tx:
        return await inbox.take(tx, wait)


async def test_the_migrations_make_what_the_schema_says(store: Store) -> None:
    await migrate(store)  # a second start changes nothing
    async with store.transaction() as tx:
        differences = await tx.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
        )
    assert differences == []


async def test_replicas_that_start_together_migrate_once(database_url: str) -> None:
    stores = [Store(database_url) for _ in range(4)]
    await asyncio.gather(*(migrate(store) for store in stores))
    for store in stores:
        await store.close()


async def test_a_new_file_that_another_replica_holds_is_waited_for(tmp_path: Path) -> None:
    """sqlite has no queue for whoever changes the mode of a file, and all of them do at first."""
    file = tmp_path / "app.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.3, other.rollback)
        store = Store(f"sqlite+aiosqlite:///{file}")
        await migrate(store)
        await accept(store)
        await store.close()


async def test_fifty_starts_at_once_make_one_record(store: Store) -> None:
    made = await asyncio.gather(*(accept(store) for _ in range(50)))
    assert len({row["accepted_at"] for row in made}) == 1


async def test_fifty_starts_with_one_key_make_one_record(store: Store) -> None:
    made = await asyncio.gather(*(accept(store, id=None, key="k") for _ in range(50)))
    assert len({row["id"] for row in made}) == 1


@pytest.mark.parametrize(
    "other",
    [{"hash": "other"}, {"id": "order-2", "key": "k"}, {"id": None, "key": "k", "hash": "o"}],
)
async def test_another_start_is_refused(store: Store, other: dict[str, Any]) -> None:
    await accept(store, key="k")
    with pytest.raises(records.Conflict):
        await accept(store, **other)


async def test_each_start_is_claimed_by_one_relay(store: Store) -> None:
    for number in range(20):
        await accept(store, id=f"order-{number}")

    async def claim() -> list[str]:
        async with store.transaction() as tx:
            return [row["id"] for row in await records.claim_unscheduled(tx, 10, claim=60)]

    claims = Counter(id for ids in await asyncio.gather(*(claim() for _ in range(8))) for id in ids)
    assert set(claims.values()) == {1}


async def test_the_first_outcome_stays(store: Store) -> None:
    await accept(store)
    for outcome in ("FULFILLED", "COMPENSATED"):
        async with store.transaction() as tx:
            await records.end(tx, Ending(instance=ID, outcome=outcome))
    async with store.reading() as tx:
        record = await records.get(tx, ID)
    assert record is not None
    assert record["outcome"] == "FULFILLED"


async def test_an_event_is_kept_once(store: Store) -> None:
    await accept(store)
    kept = await asyncio.gather(*(keep(store, "e-1") for _ in range(20)))
    assert sorted(kept) == [False] * 19 + [True]
    with pytest.raises(records.Conflict):
        await keep(store, "e-1", data={"other": 1})


async def test_a_wait_gets_the_same_event_whenever_it_asks(store: Store) -> None:
    await accept(store)
    await keep(store, "e-1")
    await keep(store, "e-2")
    first = await asyncio.gather(*(take(store) for _ in range(10)))
    assert {one.event.event_id for one in first if one.event} == {"e-1"}
    second = await take(store, token="carrier/2")
    assert second.event is not None
    assert second.event.event_id == "e-2"


async def test_the_first_deadline_stays(store: Store) -> None:
    await accept(store)
    first = await take(store)
    assert first.due == (await take(store)).due


async def test_who_fixes_a_deadline_ahead_does_not_wait_for_it(store: Store) -> None:
    """Nobody would look after an instance that seems to wait for a date in a month."""
    await accept(store)
    due = records.now() + timedelta(days=30)
    wait = Wait(instance=ID, name="deadline:x", token="deadline:x", due=due, ahead=True)
    async with store.transaction() as tx:
        assert (await inbox.take(tx, wait)).due == due
        record = await records.get(tx, ID)
    assert record is not None
    assert (record["status"], record["waiting_for"], record["due_at"]) == ("RUNNING", None, None)


async def test_an_event_and_a_timer_that_race_have_one_winner(store: Store) -> None:
    """Whoever comes second learns it: an event after the expiry is not taken, and stays kept."""
    winners: Counter[str] = Counter()
    await accept(store)
    for number in range(30):
        token = f"carrier/{number}"
        await take(store, token=token)
        kept, timed = await asyncio.gather(
            keep(store, f"e-{number}"), take(store, token=token, final=True)
        )
        assert kept
        after = await take(store, token=token)
        assert (after.event, after.expired) == (timed.event, timed.expired)
        winners["event" if after.event else "timer"] += 1
        if after.expired:
            leftover = await take(store, token=f"next/{number}")
            assert leftover.event is not None
    assert sum(winners.values()) == 30


async def test_a_wake_up_signal_rings_only_for_an_open_wait(store: Store) -> None:
    async def due() -> int:
        async with store.transaction() as tx:
            return len(await inbox.claim_unraised(tx, 10))

    await accept(store)
    async with store.transaction() as tx:
        await records.mark_scheduled(tx, ID)
    await keep(store, "early", name="warehouse", type="warehouse.picked")
    assert await due() == 0
    await take(store)
    await keep(store, "e-1")
    assert await due() == 1
    assert await due() == 0, "it is not due again at once"
    await take(store)
    assert await due() == 0


async def test_a_lease_has_one_holder(store: Store) -> None:
    async def acquire(holder: str, seconds: float) -> bool:
        async with store.transaction() as tx:
            return await leases.acquire(tx, "reconciler", holder, seconds)

    won = await asyncio.gather(*(acquire(f"replica-{n}", 60) for n in range(10)))
    assert won.count(True) == 1
    holder = f"replica-{won.index(True)}"
    assert await acquire(holder, -1)  # prolonged, and over at once
    assert await acquire("another", 60)
    assert not await acquire(holder, 60)


async def test_an_intervention_is_opened_once_and_answered_once(store: Store) -> None:
    incident = Incident(instance=ID, key=f"{ID}/refund", n=1, kind="undo_failed", reason="r")

    async def answer(by: str) -> bool:
        async with store.transaction() as tx:
            return await interventions.answer(tx, incident.id, action="retry", note="n", by=by)

    async def open_() -> None:
        async with store.transaction() as tx:
            await interventions.open_(tx, incident)

    await accept(store)
    await asyncio.gather(*(open_() for _ in range(10)))
    answers = await asyncio.gather(*(answer(f"p-{n}") for n in range(10)))
    assert answers.count(True) == 1
    await open_()
    async with store.transaction() as tx:
        assert (await interventions.read_resolution(tx, incident)).action == "retry"


async def test_a_read_does_not_wait_for_a_writer(store: Store) -> None:
    await accept(store)
    async with store.transaction() as tx:
        await records.progress(tx, ID, status="RUNNING")
        async with asyncio.timeout(5), store.reading() as reader:
            record = await records.get(reader, ID)
    assert record is not None
    assert record["status"] == "ACCEPTED"


async def test_a_run_that_begins_reads_the_attempts_before_it_once(store: Store) -> None:
    async with store.transaction() as tx:
        await records.accept(
            tx, id="o", kind="order_fulfilment", idempotency_key=None, request_hash="", input={}
        )
        begun = {"instance": "o", "key": "o/reserve/2", "operation": "inventory.reserve"}
        number = await attempts.begin(tx, **begun, undoes=None, alone=False)
        await attempts.finish(tx, number, result="applied")
    asked: list[str] = []
    event.listen(
        store.engine.sync_engine,
        "before_cursor_execute",
        lambda *arguments: asked.append(arguments[2]),
    )
    async with store.transaction() as tx:
        beginning = await runs.begin(tx, Start(instance="o", kind="order_fulfilment"))
    assert (beginning.tried, beginning.ordinals) == (["reserve"], {"reserve": 2})
    assert len([one for one in asked if "FROM attempts" in one]) == 1
