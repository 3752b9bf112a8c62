"""As strict as a bank: what was taken is given back once, and no more of it, whoever asks how."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from downstream.config import ConfigError, load
from downstream.store import Store
from tests.downstream.kit import CHARGE, Witness, in_process, process, until

MONEY = {"held": 0, "taken": 3998, "returned": 0, "limit": None}


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    async with in_process(tmp_path) as running:
        yield running


async def counter(witness: Witness, name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = (await witness.client.get(f"/counters/{name}")).json()
    return found


async def customer(witness: Witness) -> dict[str, Any]:
    """The sums of the customer of every charge."""
    return (await counter(witness, "customers"))["c-17"]


async def reserve(witness: Witness, id: str, *lines: tuple[str, int]) -> str:
    fields = {"lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines]}
    return str((await witness.do("inventory.reserve", f"{id}/reserve", fields)).json()["result"])


async def refund(witness: Witness, key: str, **fields: Any) -> tuple[int, str, str | None]:
    undo = {"undoes": "order-1/charge", **fields}
    answer = (await witness.do("payment.refund", key, undo)).json()
    return answer.get("status", 200), answer.get("result", ""), answer.get("reason")


async def test_a_charge_is_counted_by_customer_and_by_method(witness: Witness) -> None:
    await witness.charge()
    await witness.charge()
    assert await counter(witness, "customers") == {"c-17": MONEY}
    assert await counter(witness, "payment_methods") == {"pm-ok": MONEY}
    await witness.refund()
    assert await customer(witness) == {**MONEY, "returned": 3998}
    everything = (await witness.client.get("/counters")).json()
    assert everything["customers"]["c-17"]["returned"] == 3998
    assert (await witness.client.get("/counters/nothing")).status_code == 404


async def test_nobody_is_refunded_twice_under_whatever_key(witness: Witness) -> None:
    await witness.charge()
    keys = ("order-1/refund", "order-1/late_refund", "order-1/charge/audit_refund")
    results = [(await refund(witness, key))[1] for key in keys]
    assert results == ["applied", "closed", "closed"]
    await witness.script({"key_ttl": 0}, match={"operation": "payment.refund"})
    assert (await refund(witness, "order-1/again"))[1] == "closed"
    assert (await refund(witness, "order-1/again"))[1] == "closed"
    assert await customer(witness) == {**MONEY, "returned": 3998}


async def test_a_refund_of_more_than_is_left_is_refused(witness: Witness) -> None:
    await witness.charge()
    refused = (200, "refused", "more_than_is_left")
    assert await refund(witness, "order-1/a", amount=3999) == refused
    assert (await refund(witness, "order-1/b", amount=3000))[1] == "applied"
    assert await refund(witness, "order-1/c", amount=999) == refused
    assert await customer(witness) == {**MONEY, "returned": 3000}
    assert (await witness.charge()).json()["result"] == "undone"
    assert (await refund(witness, "order-1/d"))[1] == "applied"
    assert (await refund(witness, "order-1/e"))[1] == "closed"
    assert await customer(witness) == {**MONEY, "returned": 3998}
    ledger = (await witness.client.get("/ledger")).json()["effects"]
    assert [each["detail"]["amount"] for each in ledger] == [3998, 3000, 998]


@pytest.mark.parametrize("amount", [0, -1, 1.5, "5", True])
async def test_a_refund_of_no_amount_is_no_refund(witness: Witness, amount: Any) -> None:
    await witness.charge()
    fields = {"undoes": "order-1/charge", "amount": amount}
    response = await witness.do("payment.refund", "order-1/refund", fields)
    assert response.status_code == 422
    assert await customer(witness) == MONEY


async def test_the_last_article_is_sold_once(witness: Witness) -> None:
    answers = [await reserve(witness, f"order-{n}", ("SKU-LAST", 1)) for n in (1, 2)]
    assert answers == ["applied", "refused"]
    stock = {"held": 0, "taken": 1, "returned": 0, "limit": 1}
    assert await counter(witness, "stock") == {"SKU-LAST": stock}
    await witness.do("inventory.release", "order-1/release", {"undoes": "order-1/reserve"})
    assert await reserve(witness, "order-2", ("SKU-LAST", 1)) == "refused", "that was its answer"
    assert await reserve(witness, "order-3", ("SKU-LAST", 1)) == "applied"


async def test_a_reservation_takes_all_of_its_lines_or_none(witness: Witness) -> None:
    assert await reserve(witness, "order-1", ("SKU-1", 5), ("SKU-LAST", 1), ("SKU-LAST", 1)) == (
        "refused"
    )
    assert (await counter(witness, "stock"))["SKU-LAST"]["taken"] == 0
    assert await reserve(witness, "order-2", ("SKU-1", 5), ("SKU-1", 2)) == "applied"
    assert (await counter(witness, "stock"))["SKU-1"]["taken"] == 7


async def test_nobody_has_more_time_than_there_is(witness: Witness) -> None:
    await witness.client.put("/counters/minutes/p-3", json={"limit": 100})

    async def ask(id: str) -> str:
        fields = {"assignee": "p-3", "effort": 60}
        answer = await witness.do("directory.reserve_capacity", f"{id}/capacity", fields)
        return str(answer.json().get("reason") or answer.json()["result"])

    assert [await ask("task-1"), await ask("task-2")] == ["applied", "no_capacity"]
    await witness.client.put("/counters/minutes/p-3", json={"limit": None})
    assert await ask("task-3") == "applied"


async def test_what_is_pending_is_held_and_free_again_when_it_comes_to_nothing(
    witness: Witness,
) -> None:
    await witness.charge("order-1/charge", payment_method="pm-never")
    assert await customer(witness) == {**MONEY, "held": 3998, "taken": 0}
    await witness.refund()
    assert await customer(witness) == {**MONEY, "taken": 0}
    await witness.script({"pending": {"settle": "refused", "after": 0.05}}, times=1)
    await witness.charge("order-2/charge")

    async def free() -> bool:
        return await customer(witness) == {**MONEY, "taken": 0}

    await until(free)


async def test_a_capture_after_the_refund_can_be_given_back_once_more(witness: Witness) -> None:
    change = {"after": 0.05, "despite_undo": True}
    await witness.script({"callbacks": {"payment.captured": change}})
    await witness.charge(payment_method="pm-pending")
    await witness.refund()

    async def captured() -> bool:
        return await customer(witness) == MONEY

    await until(captured)
    assert (await refund(witness, "order-1/late_refund"))[1] == "applied"
    assert (await refund(witness, "order-1/audit_refund"))[1] == "closed"
    assert await customer(witness) == {**MONEY, "returned": 3998}


async def test_a_refund_may_be_settled_later(witness: Witness) -> None:
    await witness.charge()
    match = {"operation": "payment.refund"}
    await witness.script({"pending": {"settle": "applied", "after": 0.2}}, match=match, times=1)
    assert (await refund(witness, "order-1/refund"))[1] == "pending"
    assert await customer(witness) == MONEY
    assert (await witness.charge()).json()["result"] == "undone"

    async def settled() -> bool:
        found = await witness.look_up("payment.refund", "order-1/refund")
        return bool(found.json()["result"] == "applied")

    await until(settled)
    assert (await refund(witness, "order-1/refund"))[1] == "applied"
    assert await customer(witness) == {**MONEY, "returned": 3998}
    assert await witness.effects() == ["payment.charge", "payment.refund"]


async def test_a_refund_that_is_refused_in_the_end_can_be_asked_again(witness: Witness) -> None:
    await witness.charge()
    later = {"pending": {"settle": "refused", "after": 0.05, "reason": "closed_account"}}
    await witness.script(later, match={"operation": "payment.refund"}, times=1)
    await refund(witness, "order-1/refund")

    async def refused() -> bool:
        return await refund(witness, "order-1/refund") == (200, "refused", "closed_account")

    await until(refused)
    assert await customer(witness) == MONEY
    assert (await refund(witness, "order-1/refund/2"))[1] == "applied"


async def test_two_refunds_that_are_both_pending_give_back_once(witness: Witness) -> None:
    await witness.charge()
    then = {"pending": {"settle": "applied", "after": 0.05}}
    await witness.script(then, match={"operation": "payment.refund"})
    keys = ("order-1/refund", "order-1/audit_refund")
    for key in keys:
        await refund(witness, key)

    async def both() -> bool:
        return {(await refund(witness, key))[1] for key in keys} == {"applied", "closed"}

    await until(both)
    assert await customer(witness) == {**MONEY, "returned": 3998}


async def test_after_all_is_undone_everything_is_as_before(tmp_path: Path) -> None:
    """In any order, with repetitions, refusals, and undos that come first; also after a restart."""
    draw = Random(7)
    dos: list[tuple[str, str, dict[str, Any]]] = [
        ("payment.charge", "payment.refund", CHARGE),
        ("inventory.reserve", "inventory.release", {"lines": [{"sku": "SKU-1", "quantity": 3}]}),
        ("inventory.reserve", "inventory.release", {"lines": [{"sku": "SKU-LAST", "quantity": 1}]}),
        (
            "directory.reserve_capacity",
            "directory.release_capacity",
            {"assignee": "p-3", "effort": 60},
        ),
    ]
    requests: list[tuple[str, str, dict[str, Any]]] = []
    for n in range(40):
        do, undo, fields = draw.choice(dos)
        if n % 5 == 0:
            model = {"model": f"m-{n}", "version": "v1"}
            do, undo, fields = "ml.authorize", "ml.restore_version", model
        requests += [(do, f"x-{n}/do", fields)] * draw.randint(1, 2)
        requests += [(undo, f"x-{n}/undo", {"undoes": f"x-{n}/do"})] * draw.randint(1, 2)
    draw.shuffle(requests)
    async with in_process(tmp_path) as witness:
        for operation, key, fields in requests:
            assert (await witness.do(operation, key, fields)).status_code < 422
    async with in_process(tmp_path) as witness:
        assert await witness.registers() == {}
        sums = (await witness.client.get("/counters")).json()
        for names in sums.values():
            for each in names.values():
                assert (each["held"], each["taken"]) == (0, each["returned"])
        assert sums["customers"]["c-17"]["taken"] > 0
        assert await reserve(witness, "last", ("SKU-LAST", 1)) == "applied"


async def test_counters_and_limits_survive_signal_9(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.charge()
        await refund(witness, "order-1/a", amount=1000)
        await witness.client.put("/counters/stock/SKU-9", json={"limit": 0})
    async with process(tmp_path) as witness:
        assert await customer(witness) == {**MONEY, "returned": 1000}
        assert await reserve(witness, "order-2", ("SKU-9", 1)) == "refused"


@pytest.mark.parametrize("then", [{"delay": 0.3}, {"hold": "before"}, {"hold": "after"}])
async def test_a_key_that_is_being_worked_on_is_in_progress(
    witness: Witness, then: dict[str, Any]
) -> None:
    rule = await witness.script({**then, "locks": True}, times=1)
    first = asyncio.create_task(witness.charge())
    await until(lambda: _fired(witness))
    second = await witness.charge()
    assert second.status_code == 409
    assert second.headers["Retry-After"] == "1"
    assert second.json()["type"] == "urn:downstream:in-progress"
    assert (await witness.charge(amount=1)).status_code == 422
    assert (await witness.charge("order-2/charge")).status_code == 200
    await witness.client.post("/release", json={})
    assert (await first).json()["result"] == "applied"
    assert (await witness.charge()).headers["Idempotent-Replayed"] == "true"
    words = [each.split()[1] for each in await witness.attempts()]
    assert sorted(words) == ["applied", "conflict", "in-progress", "replayed"]
    assert rule == "rule-1"


async def _fired(witness: Witness) -> bool:
    return await witness.fired() == [1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('takes = [{counter = "n", name = "x"}]', "no counter n"),
        ('takes = [{counter = "c", name = "y"}]', "y is counted"),
        ('takes = [{counter = "c", name = "x", amount = "x"}]', "x is an amount"),
        ('takes = [{counter = "c", name = "x", amount = "l[].n"}]', "not in one list"),
    ],
)
def test_what_is_counted_wrongly_is_said(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "providers.toml"
    fields = 'fields = {x = "string", "l[].n" = "positive"}'
    file.write_text(f'[counters.c]\n[operations."a.b"]\n{fields}\n{text}')
    with pytest.raises(ConfigError, match=complaint):
        load(file)


async def test_a_page_of_a_hundred_thousand_is_found_and_not_searched(tmp_path: Path) -> None:
    """Pages at the end of a long list cost about as much as those of a short one."""
    async with in_process(tmp_path / "w") as witness:
        await witness.charge()
    store = Store(tmp_path / "w" / "journal.jsonl")
    first = store.requests[1]

    def grow(to: int) -> None:
        for n in range(len(store.requests) + 1, to + 1):
            named = {"n": n, "key": f"k-{n}", "reference": f"k-{n}"}
            at = first.at + timedelta(seconds=n)
            store._apply([first.model_copy(update={**named, "at": at})])

    def pages() -> float:
        """Seconds for the first of each of the last fifty pages, the best of some."""
        took, last = [], len(store.requests)
        for _ in range(20):
            began = time.perf_counter()
            for n in range(last - 50, last):
                since = first.at + timedelta(seconds=n + 1)
                assert next(store.by_operation("payment.charge", 0, since)).n == n + 1
            took.append(time.perf_counter() - began)
        return min(took)

    grow(100)
    short = pages()
    grow(100_000)
    assert pages() < 10 * short
    await store.close()
