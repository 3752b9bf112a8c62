"""Pending is not done: whatever settles later is waited for, be it a step, a letter or an undo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from store import interventions
from tests.support.engine import Run
from tests.support.sagas import deployment, document, task
from tests.support.shop import order
from tests.support.world import World, world
from workflows.messages import Settling

ID = "instance-1"
HOUR = 3_600
QUICK = {"attempts": 2, "first": 0.1, "cap": 0.2}
APPROVAL = {
    "title": "a press",
    "requester": "r-1",
    "action": "buy",
    "amount": 1,
    "automatic": True,
    "approvers": ["a-1"],
    "director": "d-1",
}


@dataclass(frozen=True)
class Kind:
    """A workflow by the keys of what it does, and of the undos in the order in which it undoes."""

    name: str
    input: dict[str, Any] = field(hash=False)
    done: tuple[str, ...]
    outcome: str
    undone: tuple[str, ...] = ()


ORDER = Kind(
    "order_fulfilment",
    order(ID),
    ("charge", "reserve", "create_shipment", "confirm", "notify"),
    "FULFILLED",
    ("cancel_shipment", "release", "refund"),
)
TASK = Kind(
    "task_processing",
    {**task(ID), "effort": 1},
    ("create_record", "reserve_capacity", "notify", "update_dashboard"),
    "DONE",
    ("mark_cancelled", "send_cancellation", "release_capacity", "delete_record"),
)
DEPLOYMENT = Kind(
    "model_deployment",
    {**deployment(ID), "poll_interval": 60},
    ("generate_data", "train/1", "push_artifact", "create_config", "authorize", "check_canary"),
    "READY",
    ("restore_version", "delete_config", "delete_artifact"),
)
DOCUMENT = Kind("document_signing", document(ID), ("send", "notify"), "SIGNED", ("void",))
APPROVED = Kind("approval", APPROVAL, ("execute", "notify"), "APPROVED")
KINDS = (ORDER, TASK, DEPLOYMENT, DOCUMENT, APPROVED)
EVENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("warehouse.picked", {}),
    ("carrier.picked_up", {}),
    ("signing.signed", {"signer": "s-1"}),
)
# The payment of an order is told of by a callback, and has tests of its own.
STEPS = [(kind, step) for kind in KINDS for step in kind.done if step != "charge"]
UNDOS = [(kind, undo) for kind in KINDS for undo in kind.undone]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def named(pair: Any) -> str:
    return pair.name if isinstance(pair, Kind) else str(pair)


async def begun(place: World, kind: Kind, *, events: bool = True) -> Run:
    input = {**kind.input, "id": ID, "retry": QUICK}
    await place.accept(kind.name, ID, input)
    for type, data in EVENTS if events else ():
        await place.keep(ID, type, data=data)
    return place.run(kind.name, ID, input)


async def turned_down(place: World, kind: Kind) -> Run:
    """One that is about to undo everything: refused at its last step, or cancelled in its wait."""
    last = {DEPLOYMENT: "check_canary", TASK: "update_dashboard"}
    if kind in last:
        place.replies[f"{ID}/{last[kind]}"] = ["refused"]
        return await begun(place, kind)
    run = await (await begun(place, kind, events=False)).advance(timers=False)
    await place.keep(ID, "cancel")
    run.raise_event("cancel")
    return run


def settles(place: World, name: str, after: int, result: str = "applied") -> list[list[str]]:
    """Lets an effect be pending, and settle when it is asked for so often; what was done then."""
    seen: list[list[str]] = []

    async def asked(_: World) -> dict[str, Any]:
        seen.append(done(place))
        return {"result": "pending" if len(seen) < after else result}

    place.replies[f"{ID}/{name}"] = ["pending"]
    place.polls[f"{ID}/{name}"] = [asked]
    return seen


def done(place: World) -> list[str]:
    return [key.removeprefix(f"{ID}/") for key in place.effects]


async def asked(place: World) -> list[str]:
    async with place.store.reading() as tx:
        return [row["kind"] for row in await interventions.of_instance(tx, ID)]


@pytest.mark.parametrize(("kind", "step"), STEPS, ids=named)
async def test_nothing_follows_a_step_that_is_pending(place: World, kind: Kind, step: str) -> None:
    seen = settles(place, step, after=4)
    run = await (await begun(place, kind)).advance()
    assert run.output == kind.outcome
    assert seen == [list(kind.done[: kind.done.index(step) + 1])] * 4
    assert (done(place), await asked(place)) == (list(kind.done), [])


@pytest.mark.parametrize(("kind", "undo"), UNDOS, ids=named)
async def test_an_undo_that_is_pending_asks_nobody(place: World, kind: Kind, undo: str) -> None:
    run = await turned_down(place, kind)
    seen = settles(place, undo, after=4)
    await run.advance()
    assert run.status == "COMPLETED"
    assert (len(seen), await asked(place)) == (4, [])
    assert [name for name in done(place) if name in kind.undone] == list(kind.undone)


async def test_a_refund_that_is_pending_for_a_week_is_a_persons(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.saga.ASK", Settling(every=HOUR))  # so that it takes seconds
    run = await turned_down(place, ORDER)
    seen = settles(place, "refund", after=10**6)
    await run.pass_time(days=6.9)
    assert (await asked(place), run.status) == ([], "RUNNING")
    record = await place.record(ID)
    assert (record["status"], record["step"]) == ("WAITING", "refund")
    assert len(seen) >= 6.8 * 24
    await run.pass_time(days=0.2)
    assert await asked(place) == ["undo_failed"]


async def test_what_is_pending_and_then_refused_turns_the_task_down(place: World) -> None:
    settles(place, "reserve_capacity", after=3, result="refused")
    run = await (await begun(place, TASK)).advance()
    assert run.output == "COMPENSATED"
    assert done(place) == ["create_record", "reserve_capacity", "release_capacity", "delete_record"]


async def test_a_provider_that_cannot_be_asked_has_not_said_no(place: World) -> None:
    settles(place, "push_artifact", after=2)
    place.polls[f"{ID}/push_artifact"][:0] = [ConnectionError("down")] * 30
    run = await (await begun(place, DEPLOYMENT)).advance()
    assert (run.output, await asked(place)) == ("READY", [])


async def test_a_cancel_is_heard_while_a_step_is_pending(place: World) -> None:
    settles(place, "push_artifact", after=10**6)
    run = await (await begun(place, DEPLOYMENT)).pass_time(hours=1)
    await place.keep(ID, "cancel")
    run.raise_event("cancel")
    await run.advance(timers=False)
    assert run.output == "ROLLED_BACK"
    assert done(place)[-1] == "delete_artifact"
