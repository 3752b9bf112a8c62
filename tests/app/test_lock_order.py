"""Two who change an instance and what hangs on it at once: on Postgres neither is a victim."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.effect import Env, Fault, perform
from activities.providers import Providers
from store import Store, interventions, records
from workflows.messages import Call, Incident

ASKED = Incident(instance="task", key="task/notify", n=1, kind="step_failed", reason="r")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def some_wait(store: Store) -> None:
    """Until somebody waits for a lock; sqlite has one writer, and the others queue before it."""
    if not store.url.startswith("postgresql"):
        return
    while True:
        async with store.reading() as tx:
            if (await tx.execute(text(WAITING))).scalar_one():
                return
        await asyncio.sleep(0.02)


async def parked(store: Store) -> None:
    async with store.transaction() as tx:
        await records.accept(
            tx,
            id="task",
            kind="task_processing",
            idempotency_key=None,
            request_hash="h",
            input={},
        )
        await records.mark_scheduled(tx, "task")
        await interventions.open_(tx, ASKED)
        await interventions.read_resolution(tx, ASKED)


async def retry(tx: AsyncConnection) -> bool:
    return await interventions.answer(tx, ASKED.id, action="retry", note="n", by="op-2")


async def settle(tx: AsyncConnection) -> bool:
    return await interventions.answer(tx, ASKED.id, action="settled", note="n", by="op-1")


async def read(tx: AsyncConnection) -> str | None:
    return (await interventions.read_resolution(tx, ASKED)).action


async def beside_a_retry(
    store: Store, other: Callable[[], Awaitable[object]], ready: Awaitable[object]
) -> object:
    """The retry of an instance holds the record while `other` begins; both come to an end."""
    async with store.transaction() as tx:
        await records.get(tx, "task", lock=True)
        beside = asyncio.ensure_future(other())
        await ready
        await retry(tx)
    return await beside


@pytest.mark.parametrize(("change", "came"), [(settle, False), (read, "retry")])
async def test_an_answer_beside_a_retry_waits_for_it(
    store: Store, change: Callable[[AsyncConnection], Awaitable[object]], came: object
) -> None:
    await parked(store)

    async def other() -> object:
        async with store.transaction() as tx:
            return await change(tx)

    assert await beside_a_retry(store, other, some_wait(store)) == came


async def test_a_fault_beside_a_retry_is_noted_and_nothing_else_fails(store: Store) -> None:
    await parked(store)
    called, retrying = asyncio.Event(), asyncio.Event()

    async def provider(_: httpx.Request) -> httpx.Response:
        called.set()
        await retrying.wait()
        raise httpx.ConnectError("away")

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(provider), base_url="http://provider.test"
    ) as client:
        env = Env(store=store, providers=Providers(lambda _: client))
        call = Call(instance="task", key=ASKED.key)
        effect = asyncio.ensure_future(perform(env, "payment.refund", call, {}, step=True))
        await called.wait()

        async def other() -> None:
            retrying.set()
            with pytest.raises(Fault):
                await effect

        await beside_a_retry(store, other, some_wait(store))
