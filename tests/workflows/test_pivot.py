"""Behind the pivot there is no way back: a cancel is too late, in every run of an instance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from store import inbox, runs
from tests.support.engine import Run
from tests.support.shop import order
from tests.support.world import World, world

ID = "instance-1"
QUICK = {"attempts": 2, "first": 0.1, "cap": 0.2}


@dataclass(frozen=True)
class Story:
    """A workflow whose letter at the end cannot be sent; `events` lead it behind its pivot."""

    kind: str
    input: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    done: tuple[str, ...]
    outcome: str


STORIES = (
    Story(
        "approval",
        {
            "title": "a press",
            "requester": "r-1",
            "action": "buy",
            "amount": 1,
            "automatic": True,
            "approvers": ["a-1"],
            "director": "d-1",
        },
        (),
        ("execute",),
        "APPROVED",
    ),
    Story(
        "document_signing",
        {"title": "lease", "requester": "c-17", "signers": ["s-1", "s-2"]},
        (("signing.signed", {"signer": "s-1"}), ("signing.signed", {"signer": "s-2"})),
        ("send",),
        "SIGNED",
    ),
    Story(
        "order_fulfilment",
        order(ID),
        (("warehouse.picked", {}), ("carrier.picked_up", {})),
        ("charge", "reserve", "create_shipment", "confirm"),
        "FULFILLED",
    ),
)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture(params=STORIES, ids=lambda story: story.kind)
def story(request: pytest.FixtureRequest) -> Story:
    made: Story = request.param
    return made


def keys(*names: str) -> list[str]:
    return [f"{ID}/{name}" for name in names]


async def begun(place: World, story: Story, **changes: Any) -> Run:
    input = {**story.input, "id": ID, "retry": QUICK, **changes}
    await place.accept(story.kind, ID, input)
    async with place.store.transaction() as tx:
        for number, (type, data) in enumerate(story.events):
            await inbox.keep(
                tx,
                instance=ID,
                event_id=f"e-{number}",
                name=type.partition(".")[0],
                type=type,
                data=data,
            )
    return place.run(story.kind, ID, input)


async def again(place: World, run: Run) -> Run:
    """A second run, as the reconciler starts one, and at whose door a cancel rings."""
    second = place.run(run.kind, ID, {}, clock=run.clock)
    second.raise_event("cancel")
    return await second.advance()


async def test_a_cancel_behind_the_pivot_is_refused_and_the_second_run_ends_well(
    place: World, story: Story
) -> None:
    place.replies[f"{ID}/notify"] = [ConnectionError("down")]
    run = await (await begun(place, story)).advance()
    assert (await place.record(ID))["status"] == "PARKED"
    async with place.store.transaction() as tx:
        assert not await runs.cancel(tx, ID)
    place.replies.clear()
    assert (await again(place, run)).output == story.outcome
    tries = keys("notify") * (QUICK["attempts"] + 1)  # type: ignore[operator]
    assert place.effects == [*keys(*story.done), *tries]


async def test_a_cancel_that_was_kept_before_and_lost_is_not_obeyed_later(
    place: World, story: Story
) -> None:
    async def cancelled(place: World) -> str:
        await place.keep(ID, "cancel", "cancel")
        raise ConnectionError("down")

    place.replies[f"{ID}/notify"] = [cancelled]
    run = await (await begun(place, story, retry={**QUICK, "attempts": 1})).advance()
    run.raise_event("cancel")
    await run.advance()
    assert (await place.record(ID))["status"] == "PARKED"
    place.replies.clear()
    second = await again(place, run)
    assert second.output == story.outcome
    assert not set(place.effects) - set(keys(*story.done, "notify"))


@pytest.mark.parametrize("story", STORIES[1:], ids=lambda story: story.kind)
async def test_a_cancel_right_behind_the_last_event_is_too_late(
    place: World, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    obeyed: list[tuple[str, bool]] = []
    activity = place.activity

    async def and_then_cancel(name: str, message: dict[str, Any]) -> Any:
        answer = await activity(name, message)
        if name == "record.take" and answer["event"]:
            async with place.store.transaction() as tx:
                obeyed.append((answer["event"]["type"], await runs.cancel(tx, ID)))
                await tx.rollback()
        return answer

    monkeypatch.setattr(place, "activity", and_then_cancel)
    run = await (await begun(place, story)).advance()
    assert run.output == story.outcome
    types = [type for type, _ in story.events]
    assert obeyed == [(types[0], True), (types[1], False)]


async def test_a_cancel_before_the_pivot_is_obeyed(place: World) -> None:
    story = STORIES[2]
    run = await begun(place, Story(story.kind, story.input, story.events[:1], (), ""))
    await run.advance(timers=False)
    async with place.store.transaction() as tx:
        assert await runs.cancel(tx, ID)
    run.raise_event("cancel")
    await run.advance()
    assert run.output == "COMPENSATED"
