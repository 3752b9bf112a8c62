"""A database of the version before, with instances under way, on both of its databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text, update

from activities.effect import Env
from app.api.auth import Principal
from app.api.common import Services
from app.api.starts import accept
from app.climb import Climb
from app.reconcile import Reconciler, Report, Signaller
from app.settings import Settings
from store import Store, clock, interventions, migrate, records
from store.schema import interventions as interventions_table
from store.schema import records as table
from tests.support.fake_engine import FakeEngine
from workflows import latest
from workflows.definition import Acceptance
from workflows.messages import Incident

SCRIPTS = Path(migrate.__file__).parent / "migrations"


def _first_version(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


async def test_what_is_under_way_survives_the_upgrade(database_url: str) -> None:
    store = Store(database_url)
    at = "2026-11-01 00:00:00+00:00"
    async with store.transaction() as tx:
        await tx.run_sync(_first_version)
        await tx.execute(
            text(
                "INSERT INTO records (id, engine_id, kind, request_hash, input, state, status, "
                "direction, refused, accepted_at, progress_at, suspended, runs, purged) VALUES "
                f"('o-1', 'o-1', 'order_fulfilment', 'h', '{{}}', 'accepted', 'ACCEPTED', "
                f"'forward', false, '{at}', '{at}', false, 0, false)"
            )
        )
        await tx.execute(
            text(
                "INSERT INTO inbox (instance, event_id, name, type, data, body_hash, received_at, "
                f"raises) VALUES ('o-1', 'e-1', 'carrier', 'carrier.x', '{{}}', 'h', '{at}', 0)"
            )
        )
        await tx.execute(
            text(
                "INSERT INTO waits (instance, token, name, due_at, state) VALUES "
                f"('o-1', 'carrier/1', 'carrier', '{at}', 'open')"
            )
        )
    await migrate.migrate(store)
    async with store.transaction() as tx:
        kept = (await tx.execute(text("SELECT instance, name, event_id FROM inbox"))).all()
        claimed = await records.claim_unscheduled(tx, 10, 1)
    assert [tuple(row) for row in kept] == [("o-1", "carrier", "e-1")]
    assert [row["id"] for row in claimed] == ["o-1"]
    await store.close()


@pytest.fixture(autouse=True)
def time_stands() -> Iterator[None]:
    token = clock.skew.set(timedelta(0))
    yield
    clock.skew.reset(token)


class Upgraded:
    """A reconciler of this version beside a replica of the one before."""

    def __init__(self, store: Store) -> None:
        self.store = store
        engine: Any = FakeEngine()
        self.statuses = engine.statuses
        settings = Settings(webhook_secrets={})
        env: Any = Env(store=store, providers=None)  # type: ignore[arg-type]
        self.signaller = Signaller(env, engine)
        self.climb = Climb(env, engine, settings, self.signaller.raise_event)
        self.reconciler = Reconciler(env, engine, settings, lambda: None)

    async def before(self, id: str, **values: Any) -> None:
        """An instance as a replica of the version before leaves it."""
        at = records.now()
        async with self.store.transaction() as tx:
            await records.accept(
                tx, id=id, kind="order_fulfilment", idempotency_key=None, request_hash="", input={}
            )
            unknown = {"state": "scheduled", "expected_at": None, "progress_at": at, **values}
            await tx.execute(update(table).where(table.c.id == id).values(**unknown))
        self.statuses[id] = "RUNNING"

    async def expected(self, id: str) -> Any:
        async with self.store.reading() as tx:
            record = await records.get(tx, id)
        return record["expected_at"] if record else None

    async def woken(self, seconds: float) -> list[str]:
        clock.skew.set(clock.skew.get() + timedelta(seconds=seconds))
        report = Report()
        await self.climb.sweep_at_once(report)
        await self.signaller.silence()
        return report.woken


async def test_what_a_replica_of_the_version_before_takes_on_is_looked_after(store: Store) -> None:
    upgraded, due = Upgraded(store), records.now() + timedelta(days=3)
    await upgraded.before("stuck", status="RUNNING")
    await upgraded.before("waits", status="WAITING", due_at=due)
    parked = Incident(instance="asked", key="asked/x", n=1, kind="undo_failed", reason="r")
    await upgraded.before("asked", status="PARKED", waiting_for=parked.id)
    heard = parked.model_copy(update={"instance": "heard", "key": "heard/x"})
    await upgraded.before("heard", status="PARKED", waiting_for=heard.id)
    async with store.transaction() as tx:
        await interventions.open_(tx, parked)
        await interventions.open_(tx, heard)
        await interventions.answer(tx, heard.id, action="retry", note="n", by="p")
        await tx.execute(update(table).where(table.c.id == "heard").values(expected_at=None))
        await tx.execute(update(interventions_table).values(alert_at=None))
    await upgraded.reconciler.sweep()
    assert set(await upgraded.woken(31)) == {"stuck", "heard"}
    assert await upgraded.expected("waits") == due
    assert await upgraded.expected("asked") is None, "it is a person's"
    async with store.transaction() as tx:
        assert [row["id"] for row in await interventions.claim_untold(tx, 10)] == [parked.id]


async def test_a_paused_monitor_is_nobodys_who_was_left_by_the_version_before(
    store: Store,
) -> None:
    upgraded = Upgraded(store)
    await upgraded.before("paused", status="WAITING", waiting_for="control")
    await upgraded.before("held", status="WAITING", waiting_for="reconcile")
    await upgraded.reconciler.sweep()
    assert await upgraded.expected("paused") is None
    assert await upgraded.expected("held") is not None, "the reconciliation loop looks after it"


async def test_one_that_the_version_before_brought_to_a_wait_is_not_late(store: Store) -> None:
    upgraded, at = Upgraded(store), records.now()
    due = at + timedelta(days=3)
    await upgraded.before("waits", status="WAITING", due_at=due, expected_at=at - timedelta(1))
    for _ in range(3):
        assert await upgraded.woken(3600) == []
    assert await upgraded.expected("waits") == due


LINE = {"sku": "s", "quantity": 1, "unit_price": 100}
SHIP_TO = {"name": "n", "line1": "l", "postcode": "p", "country": "DE"}
ORDER = {
    "customer": "c",
    "currency": "EUR",
    "lines": [LINE],
    "ship_to": SHIP_TO,
    "payment_method": "m",
}
MODEL = {"model": "m", "version": "1", "dataset": "d"}

# What the first release made of these bodies.
IDENTITIES: list[tuple[str, dict[str, Any], str]] = [
    ("order_fulfilment", ORDER, "6c5498b39eea5ca1c2ebd69b3ba72269b709ca7ae89946b6f6191ea51274087d"),
    (
        "task_processing",
        {"title": "t", "assignee": "a"},
        "76bfb5c14c6f3eb17d35b8691b553e6dacf43bb93c0ea67b290f12e100cffdde",
    ),
    ("model_deployment", MODEL, "612543cf8e12d9cc728a31197c75bbc445e0f6110d3b2c047621f58d651c6a18"),
    (
        "model_deployment",
        {**MODEL, "retry": {"attempts": 3}},
        "39a4e3ff5b33c3d105e7742522e9ee8f93de67a6cef884301ed1e568606435c1",
    ),
    (
        "document_signing",
        {"title": "t", "requester": "r", "signers": ["s"]},
        "cf27f67451ac22657c6c89e689d590c59900fe5e22d0ce418466255782cf3f0d",
    ),
    (
        "approval",
        {"title": "t", "action": "a"},
        "09ce805ef82a4695bc54ac98031d526480b98bcf47b5cbf405365e9d28f06b50",
    ),
    (
        "health_monitor",
        {"url": "http://s/health"},
        "b899e3144debef8dc581a1d00a20ed17d8a54b5c05190d0aa3371130406330f5",
    ),
]


class Notified:
    """A relay that is only notified."""

    def notify(self) -> None:
        """Something was kept."""


async def started(store: Store, kind: str, body: dict[str, Any]) -> int:
    workflow = latest(kind)
    request = workflow.request or workflow.input
    made = request.model_validate_json(json.dumps({"id": "x", **body}))
    services = Services(Settings(webhook_secrets={}), store, Notified(), None, None)  # type: ignore[arg-type]
    nobody = replace(workflow, accept=lambda *_: Acceptance())
    principal = Principal(subject="r-1", roles=frozenset())
    return (await accept(services, nobody, principal, made, None)).status_code


@pytest.mark.parametrize(("kind", "body", "identity"), IDENTITIES)
async def test_a_body_that_the_first_release_accepted_may_be_sent_again(
    store: Store, kind: str, body: dict[str, Any], identity: str
) -> None:
    async with store.transaction() as tx:
        await records.accept(
            tx, id="x", kind=kind, idempotency_key=None, request_hash=identity, input={}
        )
    assert await started(store, kind, body) == 202
    another = {**body, "retry": {"attempts": 4}}
    with pytest.raises(records.Conflict):
        await started(store, kind, another)


async def test_an_accepted_body_may_be_sent_again_with_its_defaults_named(store: Store) -> None:
    assert await started(store, "model_deployment", MODEL) == 202
    named = {"training_timeout": 30 * 86_400, "retry": {"attempts": 5, "first": 3}}
    assert await started(store, "model_deployment", {**MODEL, **named}) == 202
    with pytest.raises(records.Conflict):
        await started(store, "model_deployment", {**MODEL, "training_timeout": 60})
