"""The longest id that the API accepts fits everywhere, on Postgres too, which counts."""

from __future__ import annotations

from typing import Any

import pytest

from store import Store, inbox, interventions, monitor_controls, monitors, records
from tests.support.site import bearer, site
from workflows import WORKFLOWS
from workflows.health_monitor import Control, Finding, Health, Monitor
from workflows.inputs import ID_PATTERN
from workflows.messages import Incident, Wait

LONGEST = "i" * 80
BODIES: dict[str, dict[str, Any]] = {
    "orders": {
        "customer": "c",
        "currency": "EUR",
        "lines": [{"sku": "s", "quantity": 1, "unit_price": 1}],
        "ship_to": {"name": "n", "line1": "l", "postcode": "p", "country": "DE"},
        "payment_method": "pm-ok",
    },
    "tasks": {"title": "t", "assignee": "a"},
    "deployments": {"model": "m", "version": "v", "dataset": "d"},
    "approvals": {"title": "t", "action": "a", "amount": 5_000_000},
    "documents": {"title": "t", "requester": "r", "signers": ["s"]},
    "monitors": {"url": "http://service.test"},
}
# The longest keys that workflows make: reminders to the hundredth signer, alerts, late refunds.
STEPS = ("remind/100/100", "notify_approvers/100", "create_shipment", "incident/100000/recovery")


def test_every_kind_is_tried() -> None:
    assert len(BODIES) == len({workflow.kind for workflow in WORKFLOWS})
    assert "{0,79}" in ID_PATTERN


@pytest.mark.parametrize("kind", BODIES)
async def test_the_longest_id_is_started_and_seen(database_url: str, kind: str) -> None:
    who = bearer("op-1", "operator")
    async with site(database_url) as office:
        made = await office.http.post(f"/{kind}", json={"id": LONGEST, **BODIES[kind]}, headers=who)
        assert made.status_code == 202, made.text
        assert (await office.http.get(f"/workflows/{LONGEST}", headers=who)).status_code == 200
        assert (
            await office.http.post(f"/workflows/{LONGEST}/cancel", headers=who)
        ).status_code == 202


async def accept(store: Store, kind: str, input: dict[str, Any]) -> None:
    async with store.transaction() as tx:
        await records.accept(
            tx, id=LONGEST, kind=kind, idempotency_key="k" * 200, request_hash="h" * 64, input=input
        )


@pytest.mark.parametrize("step", STEPS)
async def test_the_longest_key_fits_wherever_it_is_kept(store: Store, step: str) -> None:
    await accept(store, "approval", {})
    incident = Incident(
        instance=LONGEST, key=f"{LONGEST}/{step}", n=999, kind="undo_failed", reason="r" * 500
    )
    async with store.transaction() as tx:
        await records.progress(tx, LONGEST, status="RUNNING", step=step)
        await interventions.open_(tx, incident)
        await interventions.read_resolution(tx, incident)
        record = await records.get(tx, LONGEST)
    assert record is not None
    assert record["waiting_for"] == incident.id
    async with store.transaction() as tx:
        await records.rename(tx, record)
        await interventions.answer(tx, incident.id, action="retry", note="n" * 2000, by="p" * 100)
        record = await records.get(tx, LONGEST)
    assert record is not None
    assert record["engine_id"] == f"{LONGEST}~1"


async def test_the_longest_event_fits(store: Store) -> None:
    await accept(store, "approval", {})
    async with store.transaction() as tx:
        due = records.now()
        token = f"approval_received/{LONGEST}"
        await inbox.take(tx, Wait(instance=LONGEST, name="approval_received", token=token, due=due))
        await inbox.keep(
            tx,
            instance=LONGEST,
            event_id="e" * 200,
            name="approval_received",
            type=f"{'t' * 30}.{'t' * 60}",
            data={},
        )
        await inbox.claim_open(tx, LONGEST, "approval_received", "e" * 200)


async def test_a_monitor_with_the_longest_id(store: Store) -> None:
    made = Monitor(id=LONGEST, url="http://service.test").model_dump(mode="json")
    await accept(store, "health_monitor", made)
    async with store.transaction() as tx:
        await monitor_controls.keep(tx, LONGEST, Control(event_id="e" * 100, action="pause"))
        finding = Finding(instance=LONGEST, generation=1, health=Health(healthy=False, reason="r"))
        await monitors.compare(tx, finding)
