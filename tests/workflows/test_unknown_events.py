"""Events of types that no wait names: kept, shown, and otherwise without any consequence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store import inbox
from tests.support.shop import order
from tests.support.world import World, world

ID = "instance-1"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def unconsumed(place: World, name: str) -> list[str]:
    async with place.store.reading() as tx:
        rows = await inbox.named(tx, ID, name)
    return [row["type"] for row in rows if row["consumed_at"] is None]


async def says(place: World, type: str, event_id: str, **data: str) -> None:
    async with place.store.transaction() as tx:
        name = type.partition(".")[0]
        await inbox.keep(tx, instance=ID, event_id=event_id, name=name, type=type, data=data)


async def test_who_has_looked_at_a_document_has_not_signed_it(place: World) -> None:
    document = {"title": "lease", "requester": "c-17", "signers": ["s-1", "s-2"], "id": ID}
    await place.accept("document_signing", ID, document)
    run = await place.run("document_signing", ID, document).advance(timers=False)
    for number, signer in enumerate(("s-1", "s-2", "s-1")):
        await says(place, "signing.viewed", f"v-{number}", signer=signer)
        run.raise_event("signing")
        await run.advance(timers=False)
    assert run.status == "RUNNING"
    assert (await place.record(ID))["waiting_for"] == "signing"
    for signer in ("s-1", "s-2"):
        await says(place, "signing.signed", f"s-{signer}", signer=signer)
        run.raise_event("signing")
    await run.advance(timers=False)
    assert run.output == "SIGNED"
    assert await unconsumed(place, "signing") == ["signing.viewed"] * 3


@pytest.mark.parametrize(
    ("waits", "before", "type"),
    [
        ("warehouse", (), "warehouse.started"),
        ("carrier", ("warehouse.picked",), "carrier.delayed"),
        ("payment", (), "payment.viewed"),
    ],
)
async def test_an_order_goes_on_waiting(
    place: World, waits: str, before: tuple[str, ...], type: str
) -> None:
    if waits == "payment":
        place.replies[f"{ID}/charge"] = ["pending"]
    await place.accept("order_fulfilment", ID, order(ID))
    for known in before:
        await place.keep(ID, known)
    run = await place.run("order_fulfilment", ID, order(ID)).advance(timers=False)
    assert (await place.record(ID))["waiting_for"] == waits
    done = list(place.effects)
    for number in range(2):
        await says(place, type, f"e-{number}")
        run.raise_event(waits)
        await run.advance(timers=False)
    assert (await place.record(ID))["waiting_for"] == waits
    assert (run.status, place.effects) == ("RUNNING", done)
    assert await unconsumed(place, waits) == [type] * 2


async def test_it_does_not_end_a_wait_that_begins_later(place: World) -> None:
    await place.accept("order_fulfilment", ID, order(ID))
    await says(place, "warehouse.started", "e-1")
    run = await place.run("order_fulfilment", ID, order(ID)).advance(timers=False)
    assert (await place.record(ID))["waiting_for"] == "warehouse"
    await run.advance()
    assert (run.output, (await place.record(ID))["reason"]) == (
        "COMPENSATED",
        "picking deadline passed",
    )
