"""Whoever fills the trail of refusals silences nobody."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from activities import decisions
from store import Store, audit_trail, interventions, records
from workflows.messages import Wait


async def an_approval(store: Store) -> None:
    async with store.transaction() as tx:
        await records.accept(
            tx, id="a-1", kind="approval", idempotency_key=None, request_hash="", input={}
        )


async def refused(store: Store) -> None:
    row: dict[str, Any] = {"who": "m", "via": "api", "what": "cancel", "event_id": None}
    async with store.transaction() as tx:
        await audit_trail.refuse(tx, instance="a-1", verdict="role", **row)


async def asked(store: Store) -> list[Any]:
    async with store.reading() as tx:
        return await interventions.of_instance(tx, "a-1")


async def test_those_who_try_side_by_side_are_counted_and_noticed(store: Store) -> None:
    await an_approval(store)
    for _ in range(8):
        await asyncio.gather(*(refused(store) for _ in range(8)))
    assert [one["key"] for one in await asked(store)] == ["a-1/decisions"]


async def test_a_forged_event_is_told_of_although_the_trail_is_full(store: Store) -> None:
    await an_approval(store)
    for _ in range(audit_trail.REFUSALS):
        await refused(store)
    (before,) = await asked(store)
    async with store.transaction() as tx:
        await interventions.answer(tx, before["id"], action="settled", note="seen", by="op")
        forged = {"approved": True}
        wait = Wait(
            instance="a-1", name="approval_received", token="t", raised=forged, at=datetime.now(UTC)
        )
        await decisions.admit_raised(tx, "k" * 40, wait)
    still_open = [one for one in await asked(store) if one["action"] is None]
    assert [one["kind"] for one in still_open] == ["forged"]
