"""The plans of every query that runs on a clock, on Postgres with 200,000 records.

The statements are those that the real functions emit, so they cannot drift from what is tested.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from launcher.postgres import Postgres
from store import (
    Store,
    desired_state,
    findings,
    inbox,
    interventions,
    ladder,
    queue,
    records,
    retention,
)
from store.migrate import migrate

BIG = {"records", "attempts", "inbox", "waits", "interventions", "incidents", "audit_trail"}
BIG |= {"findings"}
SLOW = 100.0  # milliseconds; a scan of a big table takes more, even where nothing else runs
UNINDEXED = "SELECT id FROM records ORDER BY reason, outcome"
MANY = 2000  # rows that one node may sort, or read in vain

# 200,000 records: most ended, some under way, waiting, parked; and what hangs on them.
FILL = """
INSERT INTO records (id, engine_id, kind, request_hash, input, state, status, direction, refused,
    accepted_at, ended_at, outcome, progress_at, expected_at, start_failures, suspended, runs,
    purged)
SELECT 'r-' || n, 'r-' || n, 'order_fulfilment', 'h', '{}',
    CASE WHEN n % 20 = 0 THEN 'scheduled' ELSE 'ended' END,
    CASE WHEN n % 20 > 0 THEN 'ENDED' WHEN n % 3 = 0 THEN 'WAITING' WHEN n % 3 = 1 THEN 'RUNNING'
        ELSE 'PARKED' END,
    'forward', false, now() - n * interval '1 minute',
    CASE WHEN n % 20 > 0 THEN now() - n * interval '1 minute' END,
    CASE WHEN n % 20 > 0 THEN 'FULFILLED' END, now() - n * interval '1 minute',
    CASE WHEN n % 20 = 0 THEN now() + interval '1 hour' END, 0, false, 0, n % 20 > 0 AND n > 10000
FROM generate_series(1, 200000) n;
INSERT INTO attempts (instance, key, operation, alone, begun_at, ended_at, result, forgiven)
SELECT 'r-' || n, 'r-' || n || '/charge', 'payment.charge', false, now() - n * interval '1 minute',
    now(), 'applied', false FROM generate_series(1, 200000) n;
INSERT INTO waits (instance, token, name, due_at, state)
SELECT 'r-' || n, 'carrier/1', 'carrier', now() + interval '1 day',
    CASE WHEN n % 20 = 0 THEN 'open' ELSE 'taken' END FROM generate_series(1, 200000) n;
INSERT INTO inbox (instance, name, event_id, type, data, body_hash, received_at, consumed_by,
    consumed_at, raises, next_raise_at)
SELECT 'r-' || n, 'carrier', 'e', 'carrier.picked_up', '{}', 'h', now(), 'carrier/1',
    CASE WHEN n % 20 > 0 THEN now() END, 0,
    CASE WHEN n % 400 = 0 THEN now() - interval '1 hour' END FROM generate_series(1, 200000) n;
INSERT INTO interventions (id, instance, key, kind, reason, blocking, opened_at, alert_at,
    alert_tries, reminders, action, answered_at, raises)
SELECT 'r-' || n || '/refund/1', 'r-' || n, 'r-' || n || '/refund', 'undo_failed', 'r', true, now(),
    CASE WHEN n % 20 = 0 THEN now() + interval '1 hour' END, 0, 0,
    CASE WHEN n % 20 > 0 THEN 'retry' END, CASE WHEN n % 20 > 0 THEN now() END, 0
FROM generate_series(1, 50000) n;
INSERT INTO audit_trail (instance, at, who, via, what, verdict)
SELECT 'r-' || n, now() - n * interval '1 minute', 'p', 'api', 'approve', 'accepted'
FROM generate_series(1, 100000) n;
INSERT INTO monitors (id, generation, failures, incident, controls, paused, stopped, settings)
SELECT 'r-' || n, 1, 0, 1000, 0, false, false, '{}' FROM generate_series(1, 50) n;
INSERT INTO incidents (monitor, n, opened_at, closed_at, warning_told, critical_told, recovery_told,
    done, held, flapping, flapping_told, stable_told)
SELECT 'r-' || m, n, now(), now(), true, true, true, true, false, false, false, false
FROM generate_series(1, 50) m, generate_series(1, 1000) n;
INSERT INTO findings (key, instance, why, found_at, state, settled_at, look_at)
SELECT 'r-' || n || '/charge', 'r-' || n, 'w', now(),
    CASE WHEN n % 20 > 0 THEN 'settled' ELSE 'waiting' END,
    CASE WHEN n % 20 > 0 THEN now() END, CASE WHEN n % 20 = 0 THEN now() + interval '1 hour' END
FROM generate_series(1, 50000) n;
"""


@dataclass(frozen=True)
class Asked:
    """A statement and its parameters, as the driver got them."""

    statement: str
    parameters: Any


@pytest.fixture
async def full(postgres: Postgres) -> AsyncIterator[Store]:
    url = postgres.create_database("plans")
    store = Store("postgresql+asyncpg://" + url.partition("://")[2])
    await migrate(store)
    async with store.transaction() as tx:
        for statement in FILL.split(";\n"):
            if statement.strip():
                await tx.execute(text(statement))
    async with store.reading() as tx:
        await tx.execute(text("VACUUM ANALYZE"))
    yield store
    await store.close()


Query = Callable[[AsyncConnection], Awaitable[object]]


def on_a_clock() -> dict[str, Query]:
    """What is asked again and again, by what it is asked for."""
    now = records.now()
    old = now - timedelta(days=400)
    asked: dict[str, Query] = {
        "starts": lambda tx: records.claim_unscheduled(tx, 64, 10),
        "wake-up signals": lambda tx: inbox.claim_unraised(tx, 64),
        "answers": lambda tx: interventions.claim_unraised(tx, 64),
        "late events": lambda tx: inbox.claim_late(tx, 64),
        "notices": lambda tx: interventions.claim_untold(tx, 64),
        "forgettable": lambda tx: ladder.forgettable(tx, 30 * 86_400, None, 100),
        "the next forgettable": lambda tx: ladder.forgettable(tx, 86_400, (old, "r-5"), 100),
        "load": lambda tx: queue.load(tx, {"r-5": now, "r-6": now}),
        "retried": lambda tx: interventions.last_retried(tx, "engine/stalled"),
        "late": lambda tx: ladder.late(tx, 30, None, 100),
        "the next late": lambda tx: ladder.late(tx, 30, (now - timedelta(hours=1), "r-5"), 100),
        "adopted": lambda tx: ladder.adopt(tx, 100),
        "told after all": lambda tx: interventions.adopt(tx, old, 100),
        "held": lambda tx: ladder.held(tx, 5, None, 100),
        "given up": lambda tx: ladder.claim_given_up(tx, 8, 300),
        "answered": lambda tx: ladder.answered(tx, 100),
        "unstarted": lambda tx: ladder.unstarted(tx, 600, 100),
        "renamed": lambda tx: ladder.renamed(tx, "", 100),
        "wishes": lambda tx: desired_state.claim(tx, 64),
        "findings": lambda tx: findings.due(tx, ["waiting"], now, 100),
        "a list": lambda tx: records.page(tx, kind=None, status="PARKED", after="r-5", limit=51),
        "interventions": lambda tx: interventions.page(tx, open_only=False, after="r-5", limit=51),
    }
    for forget in (
        retention.ended,
        retention.old_attempts,
        retention.old_interventions,
        retention.old_incidents,
        retention.old_findings,
        retention.old_trail,
    ):
        asked[forget.__name__] = lambda tx, forget=forget: forget(tx, old, 100)  # type: ignore[misc]
    return asked


async def emitted(store: Store, query: Query) -> list[Asked]:
    """The statements of a query, none of which changes anything in the end."""
    found: list[Asked] = []

    def note(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: bool) -> None:
        found.append(Asked(statement, parameters))

    engine = store.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        async with store.engine.connect() as tx:
            await query(tx)
            await tx.rollback()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return found


async def explained(store: Store, asked: Asked) -> dict[str, Any]:
    """The plan and what became of it."""
    async with store.engine.connect() as tx:
        raw = await tx.get_raw_connection()
        driver: Any = raw.driver_connection
        transaction = driver.transaction()
        await transaction.start()
        try:
            said = await driver.fetchval(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {asked.statement}", *asked.parameters
            )
        finally:
            await transaction.rollback()
    plan: dict[str, Any] = said[0]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def faults(plan: dict[str, Any]) -> list[str]:
    """What would take long, or longer the more rows there are."""
    found = []
    for node in nodes(plan["Plan"]):
        name, table = node["Node Type"], node.get("Relation Name")
        if name == "Seq Scan" and table in BIG:
            found.append(f"a scan of {table}")
        if name == "Sort" and node["Plan Rows"] > MANY:
            found.append(f"a sort of {node['Plan Rows']} rows")
        if node.get("Rows Removed by Filter", 0) > MANY:
            found.append(f"{node['Rows Removed by Filter']} rows of {table} read in vain")
    if plan["Execution Time"] > SLOW:
        found.append(f"{plan['Execution Time']} ms")
    return found


async def test_nothing_that_runs_on_a_clock_reads_a_whole_table(full: Store) -> None:
    found = {}
    for name, query in on_a_clock().items():
        for asked in await emitted(full, query):
            if wrong := faults(await explained(full, asked)):
                found[name] = [*wrong, asked.statement]
    assert found == {}
    # The proof that this can fail.
    asked, *_ = await emitted(full, lambda tx: tx.execute(text(UNINDEXED)))
    assert "a scan of records" in faults(await explained(full, asked))
