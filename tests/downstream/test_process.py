"""The real program on a real socket: lost answers, held requests, signal 9."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.downstream.kit import CHARGE, LETTER, Witness, process, receiver, until


def held(witness: Witness, *expected: tuple[str, str]) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return await witness.held() == list(expected)

    return condition


async def test_everything_survives_signal_9(tmp_path: Path) -> None:
    with receiver() as there:
        async with process(tmp_path) as witness:
            await witness.charge(payment_method="pm-pending")
            await witness.ship()
            await witness.refund("order-2/refund", undoes="order-2/charge")
            first = await witness.do("notifier.send", "order-1/notify", LETTER)
        async with process(tmp_path, there.url) as witness:
            again = await witness.do("notifier.send", "order-1/notify", LETTER)
            assert again.headers["Idempotent-Replayed"] == "true"
            assert again.json() == first.json()
            assert (await witness.charge("order-2/charge")).json()["result"] == "undone"
            await there.hears(3)
            assert sorted(there.types) == [
                "carrier.picked_up",
                "payment.captured",
                "warehouse.picked",
            ]
            assert sorted(await witness.effects()) == [
                "carrier.create_shipment",
                "notifier.send",
                "payment.charge",
            ]
            late = await witness.cancel_shipment()
            assert late.json()["result"] == "too_late"


async def test_a_dropped_response_has_committed_once(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.script({"drop": True}, times=1)
        with pytest.raises(httpx.RemoteProtocolError):
            await witness.charge()
        assert (await witness.charge()).headers["Idempotent-Replayed"] == "true"
        assert await witness.effects() == ["payment.charge"]
        assert await witness.responses() == ["lost", "sent"]
        assert await witness.fired() == [1]


async def test_hanging_before_and_after_the_effect(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.script({"hang": True}, match={"key": "order-1/charge"}, times=1)
        await witness.script({"commit_then_hang": True}, match={"instance": "order-2"}, times=1)
        with pytest.raises(httpx.ReadTimeout):
            await witness.do("notifier.send", "order-2/notify", LETTER, patience=0.2)
        with pytest.raises(httpx.ReadTimeout):
            await witness.do("payment.charge", "order-1/charge", CHARGE, patience=0.2)
        assert await witness.attempts() == ["charge hung"]
        assert await witness.effects() == []
        assert await witness.effects("order-2") == ["notifier.send"]
        assert await witness.responses("order-2") == ["never"]


async def test_held_before_and_after_the_effect(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.script({"hold": "both"}, match={"key": "order-1/charge"})
        charge = asyncio.create_task(witness.charge())
        await until(held(witness, ("order-1/charge", "before")))
        assert await witness.effects() == []
        assert await witness.release(key="order-2/charge") == 0
        assert await witness.release(key="order-1/charge") == 1
        await until(held(witness, ("order-1/charge", "after")))
        assert await witness.effects() == ["payment.charge"]
        assert await witness.responses() == ["held"]
        assert not charge.done()
        assert await witness.release(instance="order-1") == 1
        assert (await charge).json()["result"] == "applied"
        assert await witness.responses() == ["sent"]


async def test_a_held_request_whose_client_leaves(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.script({"hold": "before"}, match={"instance": "order-1"})
        await witness.script({"hold": "after"}, match={"instance": "order-2"})
        zombie = {"hold": "before", "on_disconnect": "proceed"}
        await witness.script(zombie, match={"instance": "order-3"})
        keys = [f"order-{n}/notify" for n in (1, 2, 3)]
        calls = [asyncio.create_task(witness.do("notifier.send", key, LETTER)) for key in keys]

        async def all_held() -> bool:
            return len(await witness.held()) == 3

        await until(all_held)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await until(held(witness, ("order-3/notify", "before")))
        assert await witness.effects() == []
        assert await witness.attempts() == ["send abandoned"]
        assert await witness.effects("order-2") == ["notifier.send"]

        async def lost() -> bool:
            return await witness.responses("order-2") == ["lost"]

        await until(lost)
        assert await witness.effects("order-3") == []
        assert await witness.release() == 1

        async def done() -> bool:
            return await witness.effects("order-3") == ["notifier.send"]

        await until(done)
        assert await witness.responses("order-3") == ["lost"]


async def test_a_delayed_request_is_overtaken_by_its_undo(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.script({"delay": 0.6}, match={"key": "order-1/charge"})
        with pytest.raises(httpx.ReadTimeout):
            await witness.do("payment.charge", "order-1/charge", CHARGE, patience=0.1)
        assert (await witness.refund()).json()["result"] == "closed"

        async def arrived() -> bool:
            return await witness.attempts() == ["refund closed", "charge undone"]

        await until(arrived)
        assert await witness.effects() == []
        assert await witness.responses() == ["sent", "lost"]
