"""The audit on both stores, against the real witness: what it gives back, and what it asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from activities.effect import Env
from activities.providers import Providers
from app.audit import Audit
from app.settings import Settings
from store import Store, clock, cursors, findings, interventions, records
from tests.downstream.kit import Witness, in_process
from workflows.messages import Ending, Incident

pytestmark = pytest.mark.filterwarnings("error")


@contextmanager
def hours_later(hours: float) -> Iterator[None]:
    token = clock.skew.set(clock.skew.get() + timedelta(hours=hours))
    try:
        yield
    finally:
        clock.skew.reset(token)


@dataclass
class Books:
    """An application's store, a provider, and the audit between them."""

    store: Store
    witness: Witness
    changes: dict[str, Any] = field(default_factory=dict)

    def audit(self) -> Audit:
        """As it is after a restart."""
        settings = Settings(webhook_secrets={}, **self.changes)
        return Audit(
            Env(store=self.store, providers=Providers(lambda _: self.witness.client)), settings
        )

    async def sweep(self, later: float = 3) -> dict[str, int]:
        with hours_later(later):
            return dict(await self.audit().sweep())

    async def order(
        self, id: str, outcome: str | None = None, kind: str = "order_fulfilment"
    ) -> None:
        """An order whose money was taken, and that perhaps has ended."""
        await self.witness.charge(f"{id}/charge")
        await self.record(id, outcome, kind)

    async def record(self, id: str, outcome: str | None, kind: str = "order_fulfilment") -> None:
        async with self.store.transaction() as tx:
            await records.accept(
                tx, id=id, kind=kind, idempotency_key=None, request_hash="", input={}
            )
        if outcome:
            await self.end(id, outcome)

    async def end(self, id: str, outcome: str) -> None:
        async with self.store.transaction() as tx:
            await records.end(tx, Ending(instance=id, outcome=outcome))

    async def settle(self, key: str, instance: str) -> None:
        """A person has dealt with it."""
        incident = Incident(instance=instance, key=key, n=1, kind="undo_failed", reason="r")
        async with self.store.transaction() as tx:
            await interventions.open_(tx, incident)
        await self.answer(incident.id, "settled")

    async def answer(self, id: str, action: Literal["retry", "settled"]) -> None:
        async with self.store.transaction() as tx:
            assert await interventions.answer(tx, id, action=action, note="n", by="op-1")

    async def asked(self) -> list[str]:
        """What the interventions for all of it say, in order."""
        async with self.store.reading() as tx:
            return [row["reason"] for row in await interventions.of_instance(tx, "-")]

    async def states(self) -> dict[str, str]:
        async with self.store.reading() as tx:
            rows = await findings.page(tx, state=None, after=None, limit=1000)
        return {row["key"]: row["state"] for row in rows}

    async def refunded(self) -> list[str]:
        """Every refund that had an effect, by what it undid."""
        effects = (await self.witness.client.get("/ledger")).json()["effects"]
        return [each["undoes"] for each in effects if each["operation"] == "payment.refund"]


@pytest.fixture
async def books(store: Store, tmp_path: Path) -> AsyncIterator[Books]:
    async with in_process(tmp_path / "witness") as witness:
        yield Books(store, witness)


async def test_money_without_records_is_one_question_and_no_refund(books: Books) -> None:
    """The database is new: forty orders were fulfilled, and nothing here knows of them."""
    for n in range(40):
        await books.witness.charge(f"order-{n}/charge")
    for _ in range(3):
        await books.sweep()
    [reason] = await books.asked()
    assert reason.startswith("money was taken 40 times")
    assert all(f"order-{n}/charge" in reason for n in range(40))
    assert await books.refunded() == []


async def test_a_question_that_is_open_grows(books: Books) -> None:
    await books.witness.charge("order-1/charge")
    await books.sweep()
    await books.witness.charge("order-2/charge")
    await books.sweep()
    [reason] = await books.asked()
    assert "2 times" in reason
    assert "order-1/charge, order-2/charge" in reason


async def test_a_question_lists_so_many_and_counts_the_rest(books: Books) -> None:
    for n in range(63):
        await books.witness.charge(f"order-{n:02}/charge")
    await books.sweep()
    [reason] = await books.asked()
    assert "63 times" in reason
    assert reason.endswith("; and 13 more")


@pytest.mark.parametrize("outcome", ["REFUSED", "COMPENSATED"])
async def test_money_that_an_ended_order_kept_is_given_back_once(
    books: Books, outcome: str
) -> None:
    await books.order("order-1", outcome)
    for _ in range(3):
        await books.sweep()
    assert await books.refunded() == ["order-1/charge"]
    assert await books.states() == {"order-1/charge": "refunded"}
    async with books.store.reading() as tx:
        [told] = await interventions.of_instance(tx, "order-1")
    assert (told["kind"], told["blocking"]) == ("unaccounted", False)


@pytest.mark.parametrize("outcome", ["FULFILLED", "TERMINATED", "SETTLED"])
async def test_who_kept_it_rightly_or_by_hand_is_left_alone(books: Books, outcome: str) -> None:
    await books.order("order-1", outcome)
    await books.sweep()
    assert (await books.refunded(), await books.asked(), await books.states()) == ([], [], {})


async def test_an_order_that_has_not_ended_is_looked_at_again(books: Books) -> None:
    await books.order("order-1")
    await books.sweep(later=3)
    assert await books.states() == {"order-1/charge": "waiting"}
    with hours_later(3):
        await books.end("order-1", "COMPENSATED")
    await books.sweep(later=4.5)
    assert await books.refunded() == ["order-1/charge"]


async def test_an_order_that_ended_a_moment_ago_may_still_give_it_back(books: Books) -> None:
    await books.order("order-1")
    with hours_later(3):
        await books.end("order-1", "COMPENSATED")
    await books.sweep(later=3.5)
    assert await books.refunded() == []
    await books.witness.refund()
    await books.sweep(later=6)
    assert await books.states() == {}
    assert await books.witness.attempts() == ["charge applied", "refund applied"]


async def test_a_young_charge_is_not_judged(books: Books) -> None:
    await books.witness.charge("order-1/charge")
    await books.sweep(later=0.9)
    assert await books.states() == {}
    await books.sweep(later=1.1)
    assert await books.states() == {"order-1/charge": "asked"}


@pytest.mark.parametrize("key", ["order-1/refund", "order-1/late_refund", "order-1/charge/audit"])
async def test_what_a_person_has_settled_is_not_given_back(books: Books, key: str) -> None:
    await books.order("order-1", "REFUSED")
    await books.settle(key, "order-1")
    await books.sweep()
    assert (await books.refunded(), await books.states()) == ([], {})


async def test_a_person_who_settled_the_letter_has_not_settled_the_money(books: Books) -> None:
    await books.order("order-1", "REFUSED")
    await books.settle("order-1/notify", "order-1")
    await books.sweep()
    assert await books.refunded() == ["order-1/charge"]


async def test_a_refund_that_is_settled_by_hand_while_it_fails_is_not_made(books: Books) -> None:
    await books.order("order-1", "REFUSED")
    await books.witness.script({"status": 503}, match={"operation": "payment.refund"}, times=1)
    await books.sweep()
    assert await books.states() == {"order-1/charge": "refunding"}
    await books.answer("order-1/charge/audit/1", "settled")
    await books.sweep(later=4)
    assert (await books.refunded(), await books.states()) == ([], {"order-1/charge": "settled"})


async def test_beyond_the_ceiling_of_an_hour_a_person_is_asked(books: Books) -> None:
    books.changes["audit_ceiling"] = 2
    for n in range(5):
        await books.order(f"order-{n}", "COMPENSATED")
    await books.sweep()
    await books.sweep(later=3.1)
    assert await books.refunded() == ["order-0/charge", "order-1/charge"]
    [reason] = await books.asked()
    assert "3 times" in reason
    assert "2 others were refunded within the hour" in reason
    await books.order("order-6", "COMPENSATED")
    await books.sweep(later=6)
    assert await books.refunded() == ["order-0/charge", "order-1/charge", "order-6/charge"]


async def test_another_kind_of_record_is_a_persons(books: Books) -> None:
    await books.order("task-1", "DONE", kind="task_processing")
    await books.sweep()
    assert await books.refunded() == []
    assert "its record is of a task_processing: task-1/charge" in (await books.asked())[0]


async def test_another_application_with_the_same_ids_is_a_persons(books: Books) -> None:
    await books.record("order-1", "REFUSED")
    await books.witness.do(
        "payment.charge",
        "invoice-77",
        {
            "instance": "order-1",
            "amount": 5,
            "currency": "EUR",
            "payment_method": "pm-ok",
            "customer": "c",
        },
    )
    await books.sweep()
    assert (await books.refunded(), await books.states()) == ([], {"invoice-77": "asked"})


@pytest.mark.parametrize("name", ["x" * 255, "a\x00b", "ä/ö", "order-1'; --"])
async def test_names_that_cannot_be_ours_stop_nobody(books: Books, name: str) -> None:
    fields = {"amount": 5, "currency": "EUR", "payment_method": "pm-ok", "customer": "c"}
    await books.witness.do(
        "payment.charge", "k" * 255, {**fields, "instance": name, "reference": "r"}
    )
    await books.order("order-1", "COMPENSATED")
    await books.sweep()
    assert sorted((await books.states()).values()) == ["asked", "refunded"]


async def test_settled_findings_are_never_asked_again(books: Books) -> None:
    await books.witness.charge("order-1/charge")
    await books.sweep()
    await books.answer("audit/1", "settled")
    await books.witness.charge("order-2/charge")
    for _ in range(2):
        await books.sweep(later=4)
    assert await books.states() == {"order-1/charge": "settled", "order-2/charge": "asked"}
    _, second = await books.asked()
    assert "1 times" in second
    assert "order-1" not in second


async def test_after_the_backup_is_mended_retry_looks_again(books: Books) -> None:
    for n in (1, 2, 3):
        await books.witness.charge(f"order-{n}/charge")
    await books.sweep()
    await books.record("order-1", "FULFILLED")
    await books.record("order-2", "COMPENSATED")
    await books.answer("audit/1", "retry")
    await books.sweep(later=4)
    assert await books.states() == {"order-2/charge": "refunded", "order-3/charge": "asked"}
    assert await books.refunded() == ["order-2/charge"]
    first, second = await books.asked()
    assert "3 times" in first
    assert "1 times" in second


async def test_an_answer_is_about_what_was_listed_and_nothing_found_since(books: Books) -> None:
    await books.witness.charge("order-1/charge")
    await books.sweep()
    async with books.store.transaction() as tx:
        row = {"key": "order-2/charge", "instance": "order-2", "why": "no record"}
        at = records.now()
        await findings.add(tx, [{**row, "found_at": at, "state": "found", "look_at": None}])
    await books.answer("audit/1", "settled")
    await books.sweep(later=4)
    assert await books.states() == {"order-1/charge": "settled", "order-2/charge": "asked"}


async def test_an_answer_is_not_about_what_was_added_while_the_person_read(books: Books) -> None:
    """It was one charge when somebody was told of it, and two when they answered."""
    await books.witness.charge("order-1/charge")
    await books.sweep()
    await books.witness.charge("order-2/charge")
    await books.sweep(later=4)
    (both,) = await books.asked()
    assert "2 times" in both
    await books.answer("audit/1", "settled")
    await books.sweep(later=5)
    assert await books.states() == {"order-1/charge": "settled", "order-2/charge": "asked"}
    _, second = await books.asked()
    assert "order-2" in second
    with hours_later(5):
        await books.answer("audit/2", "settled")
    await books.sweep(later=6)
    assert await books.states() == dict.fromkeys(("order-1/charge", "order-2/charge"), "settled")


async def test_a_refund_that_is_pending_is_no_failure(books: Books) -> None:
    await books.order("order-1", "REFUSED")

    async def pending(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/payment/refund":
            return httpx.Response(202, json={"result": said.pop(0)})
        return await real.send(request)

    said, real = ["pending", "applied"], books.witness.client
    transport = httpx.MockTransport(pending)
    async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
        books.witness = Witness(client)
        await books.sweep()
        assert await books.states() == {"order-1/charge": "refunding"}
        await books.sweep(later=4)
        assert await books.states() == {"order-1/charge": "refunded"}
        assert await books.asked() == []


async def test_a_refund_that_is_refused_is_a_persons(books: Books) -> None:
    await books.order("order-1", "REFUSED")
    match = {"operation": "payment.refund"}
    await books.witness.script({"refuse": "account_closed"}, match=match)
    await books.sweep()
    assert "refused: account_closed" in (await books.asked())[0]


async def test_a_kill_between_the_row_and_the_money_loses_neither(books: Books) -> None:
    """Twice nobody hears that the refund was made."""
    await books.order("order-1", "COMPENSATED")
    await books.witness.script(
        {"commit_then_status": 503}, match={"operation": "payment.refund"}, times=2
    )
    for later in (3, 3.1, 3.2, 4):
        await books.sweep(later=later)
    assert await books.refunded() == ["order-1/charge"]
    assert await books.states() == {"order-1/charge": "refunded"}
    assert len(await books.witness.attempts()) == 1 + 3


class Reader:
    """A provider's client that counts what is listed, and stops where it is told."""

    def __init__(self, witness: Witness, pages: int = 1000) -> None:
        self.read: list[str] = []
        self._pages = pages
        self._witness = witness

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        listing = request.method == "GET" and "reference" not in request.url.params
        if listing and self._pages == 0:
            return httpx.Response(503)
        response = await self._witness.client.send(request)
        if listing:
            self._pages -= 1
            self.read += [item["key"] for item in response.json()["items"]]
        return response


async def read_with(books: Books, pages: int) -> list[str]:
    """What a sweep lists, when the provider gives it so many pages."""
    real, reader = books.witness, Reader(books.witness, pages)
    transport = httpx.MockTransport(reader)
    async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
        books.witness = Witness(client)
        await books.sweep()
    books.witness = real
    return reader.read


async def test_each_charge_is_read_about_once_and_a_kill_loses_a_page(books: Books) -> None:
    for n in range(450):
        await books.witness.charge(f"order-{n:03}/charge")
    assert len(await read_with(books, pages=1)) == 200
    rest = await read_with(books, pages=10)
    assert rest == [f"order-{n:03}/charge" for n in range(199, 450)]
    assert await read_with(books, pages=10) == ["order-449/charge"]
    assert len(await books.states()) == 450


async def test_a_sweep_that_found_nothing_has_nothing_to_tell(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    await books.order("order-1", "FULFILLED")
    await books.sweep()
    assert await books.sweep() == {}
    assert "audit" not in caplog.text


async def test_a_replica_that_was_paused_does_not_move_the_cursor_back(books: Books) -> None:
    at = records.now()
    async with books.store.transaction() as tx:
        await cursors.advance(tx, "audit", at, "b")
        await cursors.advance(tx, "audit", at - timedelta(hours=1), "a")
        cursor = await cursors.get(tx, "audit")
    assert cursor is not None
    assert (cursor["at"], cursor["after"]) == (at, "b")
