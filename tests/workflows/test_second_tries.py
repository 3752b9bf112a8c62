"""A person's Retry after a refusal: under the next ordinal, for the old key was answered for good.

And what the machine tries again by itself: how often, how far apart, for how long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from store import interventions
from tests.support.engine import Run
from tests.support.sagas import deployment, task
from tests.support.shop import order
from tests.support.world import World, world
from workflows.run import UNDO_FOR

ID = "instance-1"
QUICK = {"attempts": 2, "first": 0.1, "cap": 0.2, "undo_for": 0}
COUNTRY = {"name": "A", "line1": "B", "postcode": "1", "country": "ZZ"}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def begun(place: World, kind: str, input: dict[str, Any], **changes: Any) -> Run:
    given = {**input, "id": ID, **changes}
    await place.accept(kind, ID, given)
    return place.run(kind, ID, given)


async def answer(place: World, run: Run, id: str, action: Any = "retry") -> None:
    async with place.store.transaction() as tx:
        assert await interventions.answer(tx, f"{ID}/{id}", action=action, note="", by="a")
    run.raise_event("intervention")
    await run.advance()


async def asked(place: World) -> list[str]:
    async with place.store.reading() as tx:
        rows = await interventions.of_instance(tx, ID)
    return [row["id"].removeprefix(f"{ID}/") for row in rows]


def done(place: World) -> list[str]:
    return [key.removeprefix(f"{ID}/") for key in place.effects]


@pytest.mark.parametrize("result", ["refused", "rejected"])
async def test_a_letter_that_was_refused_is_sent_under_the_next_key(
    place: World, result: str
) -> None:
    place.replies[f"{ID}/notify"] = [result]
    place.replies[f"{ID}/notify/2"] = [result]
    run = await begun(place, "order_fulfilment", order(ID), retry=QUICK)
    for type in ("warehouse.picked", "carrier.picked_up"):
        await place.keep(ID, type)
    await run.advance()
    await answer(place, run, "notify/1")
    await answer(place, run, "notify/2/1")
    assert run.output == "FULFILLED"
    assert done(place)[4:] == ["notify", "notify/2", "notify/3"]


async def test_an_undo_that_was_refused_is_asked_under_the_next_key(place: World) -> None:
    """And each of these undoes the same do, be it by a second run."""
    place.replies[f"{ID}/create_shipment"] = ["refused"]
    place.replies[f"{ID}/release"] = ["refused"]
    run = await (await begun(place, "order_fulfilment", order(ID), retry=QUICK)).advance()
    await answer(place, run, "release/1")
    assert run.output == "REFUSED"
    assert done(place).count("release") == done(place).count("release/again-1") == 1
    undoing = [message for name, message in run.calls if name == "inventory.release"]
    assert [message["undoes"] for message in undoing] == [f"{ID}/reserve"] * 2


async def test_an_undo_without_an_answer_is_retried_under_its_own_key(place: World) -> None:
    """Nobody knows what became of it: the same key again will tell."""
    place.replies[f"{ID}/create_shipment"] = ["refused"]
    place.replies[f"{ID}/release"] = [ConnectionError("down")]
    run = await (await begun(place, "order_fulfilment", order(ID), retry=QUICK)).advance()
    place.replies.pop(f"{ID}/release")
    await answer(place, run, "release/1")
    assert run.output == "REFUSED"
    assert not [name for name in done(place) if "again" in name]


async def test_what_was_tried_under_two_keys_is_undone_under_both(place: World) -> None:
    place.replies[f"{ID}/push_artifact"] = ["rejected"]
    place.replies[f"{ID}/check_canary"] = ["refused"]
    run = await begun(place, "model_deployment", deployment(ID, poll_interval=60))
    await run.advance()
    await answer(place, run, "push_artifact/1")
    assert run.output == "ROLLED_BACK"
    assert done(place)[2:4] == ["push_artifact", "push_artifact/2"]
    undoing = [message for name, message in run.calls if name == "ml.delete_artifact"]
    keys = [(message["key"], message["undoes"]) for message in undoing]
    assert keys == [
        (f"{ID}/delete_artifact/2", f"{ID}/push_artifact/2"),
        (f"{ID}/delete_artifact", f"{ID}/push_artifact"),
    ]


def tries(place: World, run: Run, name: str, until: float) -> list[float]:
    """Lets a provider be away for so many seconds from the first try; the moments of all tries."""
    at: list[datetime] = []

    async def reply(_: World) -> str:
        at.append(run.clock)
        moments.append((run.clock - at[0]).total_seconds())
        if moments[-1] < until:
            raise ConnectionError("away")
        return "applied"

    moments: list[float] = []
    place.replies[f"{ID}/{name}"] = [reply]
    return moments


@pytest.mark.parametrize(
    ("kind", "input", "step"),
    [
        ("model_deployment", deployment(ID), "push_artifact"),
        ("order_fulfilment", order(ID), "reserve"),
        ("task_processing", {**task(ID), "effort": 1}, "create_record"),
    ],
)
async def test_a_blip_of_half_a_minute_asks_nobody_and_turns_nothing_down(
    place: World, kind: str, input: dict[str, Any], step: str
) -> None:
    """With the defaults of each kind, whatever the jitter of its key."""
    run = await begun(place, kind, {k: v for k, v in input.items() if k != "retry"})
    moments = tries(place, run, step, until=30)
    await run.pass_time(minutes=2)
    assert moments[-1] >= 30, "it was caught"
    assert (await place.record(ID))["direction"] == "forward"
    assert await asked(place) == []
    pauses = [later - sooner for sooner, later in pairwise(moments)]
    assert pauses == sorted(pauses), "each pause is as long as the one before it, or longer"
    assert len(moments) <= 8


@pytest.mark.parametrize("hours", [13 / 60, 24])
async def test_a_refund_provider_that_is_away_for_a_day_asks_nobody(
    place: World, hours: float
) -> None:
    body = {name: value for name, value in order(ID, ship_to=COUNTRY).items() if name != "retry"}
    place.replies[f"{ID}/create_shipment"] = ["refused"]
    run = await begun(place, "order_fulfilment", body)
    moments = tries(place, run, "refund", until=hours * 3600)
    await run.advance()
    assert (run.output, await asked(place)) == ("REFUSED", [])
    # What else can be undone does not wait for it.
    assert done(place).index("release") < done(place).index("refund")
    assert moments[-1] < hours * 3600 + 1800 * 1.25
    assert len(moments) < 100


async def test_a_refund_provider_that_is_away_for_three_days_is_a_persons(place: World) -> None:
    place.replies[f"{ID}/create_shipment"] = ["refused"]
    run = await begun(place, "order_fulfilment", order(ID))
    moments = tries(place, run, "refund", until=72 * 3600)
    await run.advance()
    assert (run.status, await asked(place)) == ("RUNNING", ["refund/1"])
    assert moments[-1] >= UNDO_FOR * 0.75
