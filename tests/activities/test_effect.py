"""One effect against the real simulated provider and a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from activities import ACTIVITIES
from activities.effect import Env, Fault
from activities.providers import Providers
from store import Store, attempts, interventions, processes, records
from store.schema import attempts as table
from store.schema import records as record_table
from tests.downstream.kit import CHARGE, Witness, in_process
from tests.support.databases import prepare
from workflows.messages import Answer, DirectionChange, Incident

KEY = "order-1/charge"


@dataclass
class Bench:
    env: Env
    witness: Witness

    async def do(self, operation: str, key: str, body: Any, undoes: str | None = None) -> Answer:
        message = {"instance": "order-1", "key": key, "body": body, "undoes": undoes}
        answer = await ACTIVITIES[operation](self.env, message)
        assert isinstance(answer, Answer)
        return answer

    async def charge(self, **changes: Any) -> Answer:
        return await self.do("payment.charge", KEY, {**CHARGE, **changes})

    async def rows(self) -> list[tuple[str, bool]]:
        async with self.env.store.reading() as tx:
            found = await attempts.of_instance(tx, "order-1")
        return [(row["result"] or "unfinished", row["alone"]) for row in found]

    async def lose_the_answer(self) -> None:
        """What was answered is not known here, as if the response had never come."""
        async with self.env.store.transaction() as tx:
            await tx.execute(update(table).values(result="fault"))

    async def die(self, *, alone: bool = False) -> None:
        """Leaves behind what a process that died in the middle leaves behind."""
        async with self.env.store.transaction() as tx:
            await processes.begin(tx, "a life that is over", "r-1")
            await processes.begin(tx, "another life", "r-1")
            await attempts.begin(
                tx,
                instance="order-1",
                key=KEY,
                operation="payment.charge",
                undoes=None,
                alone=alone,
                process="a life that is over",
            )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = Store(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}")
    await prepare(store)
    async with store.transaction() as tx:
        await records.accept(
            tx,
            id="order-1",
            kind="order_fulfilment",
            idempotency_key=None,
            request_hash="",
            input={},
        )
    async with in_process(tmp_path / "downstream") as witness:
        try:
            yield Bench(Env(store=store, providers=Providers(lambda _: witness.client)), witness)
        finally:
            await store.close()


async def test_the_same_key_is_one_effect(bench: Bench) -> None:
    first, second = await bench.charge(), await bench.charge()
    assert first.result == "applied"
    assert first.result == second.result
    assert await bench.witness.effects() == ["payment.charge"]


@pytest.mark.parametrize("then", [{"status": 503}, {"status": 429}, {"commit_then_status": 500}])
async def test_a_fault_is_an_exception_and_the_same_key_tells(bench: Bench, then: Any) -> None:
    await bench.witness.script(then, times=1)
    with pytest.raises(Fault):
        await bench.charge()
    assert (await bench.charge()).result == "applied"
    assert await bench.witness.effects() == ["payment.charge"]
    assert await bench.rows() == [("fault", False), ("applied", False)]


async def test_a_refusal_is_a_value(bench: Bench) -> None:
    answer = await bench.charge(payment_method="pm-declined")
    assert (answer.result, answer.reason) == ("refused", "card_declined")


async def test_a_request_that_the_provider_calls_wrong_is_not_a_fault(bench: Bench) -> None:
    await bench.charge()
    await bench.lose_the_answer()
    assert (await bench.charge(amount=1)).result == "rejected"


async def test_an_undo_beats_a_late_do(bench: Bench) -> None:
    undone = await bench.do("payment.refund", "order-1/refund", {}, undoes=KEY)
    assert undone.result == "closed"
    assert (await bench.charge()).result == "undone"
    assert await bench.witness.effects() == []


async def test_past_the_horizon_the_provider_is_asked_before_it_is_told_again(
    bench: Bench,
) -> None:
    await bench.witness.script({"key_ttl": 0})
    await bench.charge()
    await bench.lose_the_answer()
    bench.env.key_ttl = 0
    assert (await bench.charge()).result == "applied"
    assert await bench.witness.effects() == ["payment.charge"]


async def test_within_the_horizon_a_forgetful_provider_would_charge_twice(bench: Bench) -> None:
    """The proof that the test above can fail: here the look-up does not happen."""
    await bench.witness.script({"key_ttl": 0})
    await bench.charge()
    await bench.lose_the_answer()
    await bench.charge()
    assert await bench.witness.effects() == ["payment.charge"] * 2


async def test_a_step_that_never_comes_back_runs_alone_and_is_then_parked(bench: Bench) -> None:
    for _ in range(bench.env.suspect_after):
        await bench.die()
    await bench.charge()
    assert (await bench.rows())[-1] == ("applied", True)

    await bench.lose_the_answer()
    for _ in range(bench.env.park_after):
        await bench.die(alone=True)
    assert (await bench.charge()).result == "parked"
    async with bench.env.store.transaction() as tx:
        await attempts.forgive(tx, KEY)
    assert (await bench.charge()).result == "applied"


async def test_an_honest_retry_is_not_counted(bench: Bench) -> None:
    rule = await bench.witness.script({"status": 503})
    for _ in range(10):
        with pytest.raises(Fault):
            await bench.charge()
    assert set(await bench.rows()) == {("fault", False)}
    await bench.witness.client.delete(f"/script/{rule}")
    assert (await bench.charge()).result == "applied"


async def test_a_refund_settled_by_hand_is_not_made_again(bench: Bench) -> None:
    await bench.charge()
    incident = Incident(
        instance="order-1", key="order-1/refund", n=1, kind="undo_failed", reason="down"
    )
    async with bench.env.store.transaction() as tx:
        await interventions.open_(tx, incident)
        await interventions.answer(tx, incident.id, action="settled", note="paid", by="op-1")
    answer = await bench.do("payment.refund", "order-1/refund", {}, undoes=KEY)
    assert answer.result == "settled"
    assert await bench.witness.effects() == ["payment.charge"]


async def test_a_do_of_a_run_that_has_turned_down_since_is_not_sent(bench: Bench) -> None:
    async with bench.env.store.transaction() as tx:
        await records.accept(
            tx,
            id="order-1",
            kind="order_fulfilment",
            idempotency_key=None,
            request_hash="",
            input={},
        )
        await records.turn(
            tx, DirectionChange(instance="order-1", direction="down", reason="cancelled")
        )
    assert (await bench.charge()).result == "undone"
    assert await bench.witness.effects() == []


async def test_a_request_that_is_still_in_progress_is_a_fault(bench: Bench) -> None:
    await bench.witness.script({"status": 409}, times=1)
    with pytest.raises(Fault):
        await bench.charge()
    assert (await bench.charge()).result == "applied"


async def test_a_dispatch_of_a_process_that_lives_is_no_death(bench: Bench) -> None:
    async with bench.env.store.transaction() as tx:
        await processes.begin(tx, "a life", "r-1")
        for _ in range(5):
            await attempts.begin(
                tx,
                instance="order-1",
                key=KEY,
                operation="payment.charge",
                undoes=None,
                alone=False,
                process="a life",
            )
    await bench.charge()
    assert (await bench.rows())[-1] == ("applied", False)


async def test_without_a_record_nothing_is_done_or_undone_and_a_person_is_asked(
    bench: Bench,
) -> None:
    await bench.charge()
    async with bench.env.store.transaction() as tx:
        await tx.execute(delete(record_table))
    for operation, key, undoes in (
        ("payment.refund", "order-1/refund", KEY),
        ("inventory.release", "order-1/release", "order-1/reserve"),
    ):
        with pytest.raises(Fault):
            await bench.do(operation, key, {}, undoes=undoes)
    assert len(await bench.rows()) == 1
    async with bench.env.store.reading() as tx:
        asked = await interventions.of_instance(tx, "-")
    assert [one["kind"] for one in asked] == ["lost"]


async def test_a_later_run_asks_where_the_attempts_of_the_first_are_lost(bench: Bench) -> None:
    """A copy of the store was put back that is older than the provider's memory of keys."""
    await bench.witness.script({"key_ttl": 0})
    await bench.charge()
    async with bench.env.store.transaction() as tx:
        await tx.execute(delete(table))
        await tx.execute(update(record_table).values(runs=1))
    bench.env.key_ttl = 0
    assert (await bench.charge()).result == "applied"
    assert await bench.witness.effects() == ["payment.charge"]
