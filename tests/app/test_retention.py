"""What is old is forgotten in the end, and nothing that anybody or any key still needs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, insert, select, update

from app import housekeeping
from app.housekeeping import Housekeeping, Keep
from store import Store, attempts, audit_trail, inbox, interventions, leases, monitors, records
from store.schema import findings, metadata, processes
from store.schema import incidents as incident_table
from store.schema import records as table
from tests.app.people import accept, answer, consumers, end, hear, intervention, later, open_
from workflows.messages import Wait

KEPT = ("monitors", "cursors")  # as many rows as there are monitors, and as things that go round


async def ended(store: Store, id: str) -> None:
    """An instance with a row in every table, that ended and was purged."""
    await accept(store, id)
    await attempt(store, id)
    await hear(store, "carrier.picked_up", id=id)
    async with store.transaction() as tx:
        due = records.now() + timedelta(hours=1)
        await inbox.take(tx, Wait(instance=id, name="carrier", token="carrier/1", due=due))
    await open_(store, id)
    await answer(store, f"{id}/refund/1")
    await end(store, "COMPENSATED", id)
    await purge(store, id)


async def attempt(store: Store, id: str) -> None:
    async with store.transaction() as tx:
        begun = {"instance": id, "key": f"{id}/charge", "operation": "payment.charge"}
        number = await attempts.begin(tx, **begun, undoes=None, alone=False)
        await attempts.finish(tx, number, result="applied")


async def purge(store: Store, id: str) -> None:
    async with store.transaction() as tx:
        await tx.execute(update(table).where(table.c.id == id).values(purged=True))


async def sweep(store: Store, **by: float) -> dict[str, int]:
    with later(**by):
        gone = await Housekeeping(store, Keep()).sweep()
    return {name: count for name, count in gone.items() if count}


async def rows(store: Store) -> dict[str, int]:
    """How many rows each table has, where there are any."""
    async with store.reading() as tx:
        counts = {
            each.name: (await tx.execute(select(func.count()).select_from(each))).scalar_one()
            for each in metadata.sorted_tables
        }
    return {name: count for name, count in counts.items() if count}


async def everything_else(store: Store) -> None:
    """Rows that hang on no record."""
    at = records.now()
    async with store.transaction() as tx:
        await leases.acquire(tx, "gone", "nobody", 1)
        await audit_trail.write(
            tx, instance="a", who="p", via="api", what="approve", verdict="accepted", event_id="e"
        )
        life = {"id": "p-1", "replica": "r", "started_at": at, "seen_at": at}
        await tx.execute(insert(processes).values(life))
        settled = {"key": "x/charge", "instance": "x", "why": "w", "state": "settled"}
        await tx.execute(insert(findings).values(**settled, found_at=at, settled_at=at))
    await attempt(store, "nobody-knows")


async def test_of_every_table_nothing_is_left_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 3)
    for number in range(7):
        await ended(store, f"order-{number}")
    await everything_else(store)
    before = await rows(store)
    assert len(before) == len(metadata.sorted_tables) - len(KEPT) - 1  # no incident
    assert await sweep(store, days=399) == {"old_processes": 1, "old_leases": 1}
    assert (await sweep(store, days=401))["ended"] == 7
    assert await rows(store) == {"audit_trail": 1}
    await sweep(store, days=7 * 365 + 1)
    assert await rows(store) == {}


async def test_what_is_open_is_kept_for_ever(store: Store) -> None:
    for id in ("running", "not-purged", "asked", "late-event", "found"):
        await accept(store, id)
        await attempt(store, id)
    for id in ("not-purged", "asked", "late-event", "found"):
        await end(store, "REFUSED", id)
    await hear(store, "payment.captured", id="late-event")
    await open_(store, "asked")
    for id in ("asked", "late-event", "found"):
        await purge(store, id)
    async with store.transaction() as tx:
        waiting = {"key": "found/charge", "instance": "found", "why": "w", "state": "waiting"}
        await tx.execute(insert(findings).values(**waiting, found_at=records.now()))
    before = await rows(store)
    assert await sweep(store, days=4000) == {}
    assert await rows(store) == before
    assert await intervention(store, "asked/refund/1") is not None
    assert await consumers(store, "payment.captured", "late-event") == [None]


async def test_what_the_audit_settled_is_kept_for_a_month_however_it_is_set(store: Store) -> None:
    """The audit reads a month back when it begins anew, and must not ask of the same again."""
    with pytest.raises(ValidationError):
        Keep(records=29 * 86_400)
    async with store.transaction() as tx:
        row = {"instance": "x", "why": "w", "found_at": records.now()}
        for state in ("settled", "refunded"):
            over = {"key": f"x/{state}", "state": state, "settled_at": records.now()}
            await tx.execute(insert(findings).values(**row, **over))
        await tx.execute(insert(findings).values(key="x/asked", state="asked", **row))
    tidy = Housekeeping(store, Keep(records=30 * 86_400))
    for days, left in ((29, 3), (31, 1), (4000, 1)):
        with later(days=days):
            await tidy.sweep()
        assert await rows(store) == {"findings": left}


async def test_an_answer_that_a_running_instance_may_read_again_is_kept(store: Store) -> None:
    await accept(store, "running")
    await open_(store, "running")
    await answer(store, "running/refund/1")
    await attempt(store, "running")
    assert await sweep(store, days=4000) == {}


async def test_an_eternal_monitor_keeps_its_rows_for_a_year_and_no_longer(store: Store) -> None:
    await accept(store, "m", kind="health_monitor")
    at = records.now()
    flags: dict[str, Any] = dict.fromkeys(("warning_told", "critical_told", "recovery_told"), True)
    async with store.transaction() as tx:
        await monitors._known(tx, "m")
        await monitors._set(tx, "m", incident=4, flapping=2)
        for n, done in ((1, True), (2, True), (3, False), (4, True)):
            closed = at + timedelta(days=100) if n == 4 else at
            row = {"monitor": "m", "n": n, "opened_at": at, "closed_at": closed, "done": done}
            await tx.execute(insert(incident_table).values(**row, **flags))
    await open_(store, "m", blocking=False)
    await answer(store, "m/refund/1")
    await attempt(store, "m")
    gone = await sweep(store, days=401)
    assert gone == {"old_attempts": 1, "old_interventions": 1, "old_incidents": 1}
    async with store.reading() as tx:
        assert [row["n"] for row in await monitors.page(tx, "m", 0, 10)] == [2, 3, 4]
        assert await interventions.of_instance(tx, "m") == []
