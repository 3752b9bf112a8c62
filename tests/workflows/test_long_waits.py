"""What goes on for days keeps a short history, and a small one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from store import interventions
from tests.support.engine import Run
from tests.support.sagas import deployment, task
from tests.support.shop import order
from tests.support.world import World, world
from workflows.instance import ROUNDS

ID = "instance-1"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def begun(place: World, kind: str, input: dict[str, Any]) -> Run:
    await place.accept(kind, ID, {**input, "id": ID})
    return place.run(kind, ID, {**input, "id": ID})


def size(run: Run) -> int:
    """Bytes of a history."""
    return sum(event.ByteSize() for event in run.history)


async def test_a_configuration_that_is_missing_for_a_weekend(place: World) -> None:
    """The reconciliation loop rings every few seconds; a few generations stand for them."""
    place.replies[f"{ID}/create_config"] = [ConnectionError("down")]
    body = deployment(ID, retry={"attempts": 2, "first": 0.1, "cap": 0.1})
    run = await (await begun(place, "model_deployment", body)).advance()
    longest: Counter[int] = Counter()
    for _ in range(4 * ROUNDS - 1):
        run.raise_event("reconcile")
        await run.advance()
        longest[run.generations] = max(longest[run.generations], len(run.history))
    assert (await place.record(ID))["waiting_for"] == "reconcile"
    assert list(longest) == [1, 2, 3, 4]
    assert longest[4] == longest[3] == longest[2], "nothing adds up"
    place.replies.clear()
    run.raise_event("reconcile")
    await run.advance()
    assert run.output == "READY"
    assert (await place.record(ID))["direction"] == "forward"
    async with place.store.reading() as tx:
        assert await interventions.of_instance(tx, ID) == []
    once = {key for key in place.effects if place.effects.count(key) == 1}
    assert {f"{ID}/{name}" for name in ("generate_data", "push_artifact", "authorize")} <= once


@pytest.mark.parametrize(
    ("kind", "input", "step"),
    [
        ("order_fulfilment", order(ID), "create_shipment"),
        ("task_processing", {**task(ID), "effort": 1}, "reserve_capacity"),
        ("model_deployment", deployment(ID, poll_interval=60), "push_artifact"),
    ],
)
async def test_a_step_that_is_asked_for_a_hundred_times(
    place: World, kind: str, input: dict[str, Any], step: str
) -> None:
    place.replies[f"{ID}/{step}"] = ["pending"]
    place.polls[f"{ID}/{step}"] = [{"result": "pending"}] * 99 + [{"result": "applied"}]
    run = await begun(place, kind, input)
    for type in ("warehouse.picked", "carrier.picked_up"):
        await place.keep(ID, type)
    await run.advance()
    assert run.output in ("FULFILLED", "DONE", "READY")
    assert run.generations == 1 + 99 // ROUNDS
    before = [key for key in place.effects if not key.endswith(step)]
    assert len(before) == len(set(before)), "a generation repeats nothing of the one before it"


async def test_a_cancel_is_heard_by_the_generation_after_it_was_raised(place: World) -> None:
    place.replies[f"{ID}/create_config"] = [ConnectionError("down")]
    run = await (await begun(place, "model_deployment", deployment(ID))).advance()
    for _ in range(ROUNDS - 1):
        run.raise_event("reconcile")
        await run.advance()
    assert run.generations == 1
    await place.keep(ID, "cancel")
    run.raise_event("reconcile")
    run.raise_event("cancel")
    await run.advance()
    assert run.output == "ROLLED_BACK"


async def test_what_a_provider_says_is_kept_short(place: World) -> None:
    essay = {"result": "refused", "reason": "no" * 100_000}
    place.replies[f"{ID}/create_shipment"] = [essay]
    run = await (await begun(place, "order_fulfilment", order(ID))).advance()
    assert run.output == "REFUSED"
    assert len((await place.record(ID))["reason"]) == 500
    assert size(run) < 20_000


async def test_an_exception_of_a_provider_is_kept_short(place: World) -> None:
    place.replies[f"{ID}/create_record"] = [ConnectionError("no" * 100_000)]
    body = {**task(ID), "effort": 1}
    run = await (await begun(place, "task_processing", body)).advance()
    assert run.output == "COMPENSATED"
    assert 500 < len((await place.record(ID))["reason"]) < 600
    assert size(run) < 200_000
