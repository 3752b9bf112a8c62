"""Long work that shows when it was last alive."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.downstream.kit import TRAINING, Witness, in_process, process, until

KEY = "model-1/train"


def beat(answer: dict[str, Any]) -> datetime:
    at = datetime.fromisoformat(answer["detail"]["heartbeat_at"])
    assert at.utcoffset() == timedelta(0)
    return at


async def seen(witness: Witness) -> datetime:
    return beat((await witness.look_up("ml.train", KEY)).json())


async def test_it_beats_as_long_as_it_is_under_way(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        await witness.script({"callbacks": {"settled": {"never": True}}})
        began = datetime.now(UTC)
        first = (await witness.do("ml.train", KEY, TRAINING)).json()
        assert (first["result"], first["detail"]["model"]) == ("pending", "m")
        found = await seen(witness)
        replayed = (await witness.do("ml.train", KEY, TRAINING)).json()
        [listed] = (await witness.listing("ml.train"))["items"]
        assert began <= beat(first) < found < beat(replayed) < beat(listed) <= datetime.now(UTC)


async def test_it_stops_when_it_is_settled(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        began = datetime.now(UTC)
        await witness.do("ml.train", KEY, TRAINING)

        async def settled() -> bool:
            answer = (await witness.look_up("ml.train", KEY)).json()
            return bool(answer["result"] == "applied" and answer["detail"] == TRAINING)

        await until(settled)
        assert datetime.now(UTC) - began >= timedelta(seconds=1)


async def test_it_falls_silent_and_stays_so_after_signal_9(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.script({"pending": {"settle": "applied", "after": 60, "silent_after": 0.2}})
        first = beat((await witness.do("ml.train", KEY, TRAINING)).json())
        assert first <= await seen(witness)
        await asyncio.sleep(0.3)
        last = await seen(witness)
        assert timedelta(0) < last - first <= timedelta(seconds=0.2)
        assert await seen(witness) == last
    async with process(tmp_path) as witness:
        assert await seen(witness) == last


async def test_others_have_none(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        charge = await witness.charge(payment_method="pm-pending")
        assert "heartbeat_at" not in charge.json()["detail"]
        await witness.script({"pending": {"heartbeat": True}})
        charge = await witness.charge("order-2/charge")
        assert beat(charge.json())
        await witness.refund("order-2/refund", "order-2/charge")
        undone = (await witness.charge("order-2/charge")).json()
        assert (undone["result"], "heartbeat_at" in undone["detail"]) == ("undone", False)
