"""What the ladder does to whom, on both databases, with a clock that tests put forward."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import update

from activities.effect import Env
from app import last_resort
from app.climb import LATER, Climb
from app.reconcile import Reconciler, Report, Signaller
from app.relay import Relay
from app.settings import Settings
from store import Store, clock, desired_state, inbox, interventions, ladder, records
from store.schema import records as table
from tests.support.fake_engine import FakeEngine
from workflows.messages import Ending, Incident

STALL_AFTER = 30.0


class World:
    """A store, an engine that is not there, and a ladder; time goes by when it is told to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.engine = FakeEngine()
        self.as_engine: Any = self.engine  # for what wants the real one
        self.settings = Settings(webhook_secrets={}, stall_after=STALL_AFTER)
        self.env: Any = Env(store=store, providers=None)  # type: ignore[arg-type]
        engine: Any = self.as_engine
        self.signaller = Signaller(self.env, engine)
        self.climb = Climb(self.env, engine, self.settings, self.signaller.raise_event)
        self.reconciler = Reconciler(self.env, engine, self.settings, lambda: None)
        self.relay = Relay(self.env, engine, 0.5)
        self.begun = records.now()

    def pass_time(self, seconds: float) -> None:
        clock.skew.set(clock.skew.get() + timedelta(seconds=seconds))

    async def running(self, id: str, kind: str = "task_processing", **values: Any) -> str:
        async with self.store.transaction() as tx:
            await records.accept(
                tx,
                id=id,
                kind=kind,
                idempotency_key=None,
                request_hash="h",
                input={"title": "t", "assignee": "a", "effort": 1},
            )
            await records.mark_scheduled(tx, id)
            await records.progress(tx, id, status="RUNNING", **values)
        self.engine.statuses[id] = "RUNNING"
        return id

    async def record(self, id: str) -> Any:
        async with self.store.reading() as tx:
            return await records.get(tx, id)

    async def relayed(self, seconds: int) -> None:
        """The relay carries what is due, each second for so long."""
        for _ in range(seconds):
            self.pass_time(1)
            await self.relay.sweep()
            await self.relay.carried()

    async def sweep(self) -> Report:
        report = Report()
        await self.climb.sweep(report)
        await self.signaller.silence()
        return report

    async def sweeps(self, seconds: float, every: float = 5) -> Report:
        """Sweeps every so many seconds for so long; returns all that they did."""
        total = Report()
        for _ in range(int(seconds / every)):
            self.pass_time(every)
            for name, ids in (await self.sweep()).as_dict().items():
                getattr(total, name).extend(ids)
        return total

    async def asked(self, instance: str) -> list[Any]:
        async with self.store.reading() as tx:
            return await interventions.of_instance(tx, instance)


@pytest.fixture
async def world(store: Store) -> World:
    return World(store)


@pytest.fixture(autouse=True)
def time_stands() -> Iterator[None]:
    """Only `pass_time` moves the clock, and not what a sweep takes on a busy machine."""
    token = clock.skew.set(timedelta(0))
    with time_machine.travel(datetime.now(UTC), tick=False):
        yield
    clock.skew.reset(token)


async def test_two_hundred_honest_backoffs_hide_nobody(world: World) -> None:
    for number in range(205):
        later = records.now() + timedelta(hours=1)
        await world.running(f"slow-{number}", expected_at=later)
    await world.running("stuck")
    done = await world.sweeps(2 * STALL_AFTER)
    assert (done.woken, done.run_again) == (["stuck"], [])


async def test_two_hundred_that_have_no_version_hide_nobody_and_are_told_of(world: World) -> None:
    for number in range(205):
        world.engine.statuses[await world.running(f"old-{number}")] = "STALLED"
    await world.running("stuck")
    # Whenever they are looked at again they are a queue for a minute or two, but not at the end.
    done = await world.sweeps(1000)
    assert "stuck" in done.woken
    assert not any(id.startswith("old") for id in done.woken + done.run_again)
    still = [one["key"] for one in await world.asked("-") if one["action"] is None]
    assert still == ["engine/left_alone"]


async def test_nobody_is_asked_about_one_that_waited_for_days_and_is_unanswered_for_once(
    world: World,
) -> None:
    week = 7 * 86_400
    await world.running("order", expected_at=records.now() + timedelta(seconds=week))
    world.pass_time(week)
    world.engine.hanging.add("order")
    assert "order" in (await world.sweeps(2 * STALL_AFTER)).left_alone
    world.engine.hanging.clear()
    for _ in range(15):
        await world.sweeps(60)
        async with world.store.transaction() as tx:
            await records.progress(tx, "order", status="RUNNING")
    assert await world.asked("-") == []
    world.engine.hanging.add("order")
    await world.sweeps(1800, 30)
    assert [one["key"] for one in await world.asked("-")] == ["engine/left_alone"]


async def test_a_queue_is_not_a_stall(world: World) -> None:
    """Three hundred stand in it, and one of them moves every second."""
    ids = [await world.running(f"task-{number}") for number in range(300)]
    for round in range(100):
        world.pass_time(5)
        async with world.store.transaction() as tx:
            for number in range(5):
                await records.progress(tx, ids[(5 * round + number) % 300], status="RUNNING")
        done = await world.sweep()
        assert done.empty, round
    for round in range(60):  # it empties: those that are left had the longest wait
        async with world.store.transaction() as tx:
            for id in ids[round * 5 : round * 5 + 5]:
                await records.end(tx, Ending(instance=id, outcome="DONE"))
        world.pass_time(5)
        assert (await world.sweep()).empty
    assert await world.asked("-") == []


async def test_many_that_stand_still_are_one_fault_until_one_moves(world: World) -> None:
    ids = [await world.running(f"task-{number}") for number in range(100)]
    done = await world.sweeps(600)
    assert 0 < len(done.woken) <= 50, "a few are tried"
    assert not done.given_up
    (asked,) = await world.asked("-")
    assert (asked["kind"], asked["action"]) == ("engine_stalled", None)
    async with world.store.transaction() as tx:
        for id in ids:
            await records.end(tx, Ending(instance=id, outcome="DONE"))
    await world.sweeps(70)
    (asked,) = await world.asked("-")
    assert asked["action"] == "healed"


async def test_the_stranded_are_woken_ever_faster_while_it_helps(world: World) -> None:
    ids = {await world.running(f"task-{number}") for number in range(150)}
    for _ in range(60):
        world.pass_time(5)
        report = await world.sweep()
        async with world.store.transaction() as tx:
            for id in report.woken:
                await records.end(tx, Ending(instance=id, outcome="DONE"))
        ids -= set(report.woken)
    assert not ids


async def stalled(world: World, seconds: float) -> Report:
    """A hundred that are stuck in an engine that hears nothing, and what was tried in so long."""
    for number in range(100):
        await world.running(f"task-{number}")
    total = Report()
    for _ in range(int(seconds / 20)):
        for name, ids in (await world.sweeps(20, 20)).as_dict().items():
            getattr(total, name).extend(ids)
        await world.relay.sweep()
        await world.relay.carried()
    return total


async def test_a_few_others_are_tried_for_as_long_as_nothing_moves_ever_more_seldom(
    world: World,
) -> None:
    done = await stalled(world, 3600)
    assert len(set(done.woken)) > 15, "not the same three for ever"
    assert len(set(done.run_again)) > 5, "nor are they only woken"
    assert len(done.woken) + len(done.run_again) < 80, "what does not help is no flood"
    assert not done.given_up
    asked = [one for one in await world.asked("-") if one["key"] == "engine/stalled"]
    assert [one["action"] for one in asked] == [None], "one alert"


async def test_the_stranded_whom_only_another_run_helps_are_all_run_again(world: World) -> None:
    ids = {await world.running(f"task-{number}") for number in range(100)}
    for _ in range(60):
        report = await world.sweeps(20, 20)
        await world.relay.sweep()
        await world.relay.carried()
        async with world.store.transaction() as tx:
            for id in report.run_again:
                await records.end(tx, Ending(instance=id, outcome="DONE"))
        ids -= set(report.run_again)
        if len(ids) < 20:
            break
    assert len(ids) < 20


async def test_a_stall_that_is_over_after_a_weekend_is_found(world: World) -> None:
    """By then each was woken and run again as often as that may be."""
    ids = [await world.running(f"task-{number}") for number in range(30)]
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(runs=2, woken_at=records.now()))
    before = await world.sweeps(1200, 20)
    assert before.woken
    assert not before.run_again
    for _ in range(240):
        report = await world.sweeps(20, 20)
        async with world.store.transaction() as tx:
            for id in report.woken:
                await records.end(tx, Ending(instance=id, outcome="DONE"))
        ids = [id for id in ids if id not in report.woken]
        if len(ids) < 20:
            break
    assert len(ids) < 20


async def test_a_persons_retry_of_a_stall_tries_again_at_once(world: World) -> None:
    await stalled(world, 2000)
    (asked,) = [one for one in await world.asked("-") if one["action"] is None]
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(runs=2))
        await interventions.answer(tx, asked["id"], action="retry", note="n", by="p")
    done = await world.sweeps(100)
    assert done.woken
    assert done.run_again, "also those that had both their runs"


async def test_each_run_is_given_more_time_than_the_one_before(world: World) -> None:
    for runs in range(3):
        id = await world.running(f"task-{runs}")
        async with world.store.transaction() as tx:
            await tx.execute(update(table).where(table.c.id == id).values(runs=runs))
    await world.sweeps(STALL_AFTER)  # until the brake has watched for long enough
    for runs in range(3):
        expected = (await world.record(f"task-{runs}"))["expected_at"]
        for _ in range(100):
            if f"task-{runs}" in (await world.sweeps(5)).woken:
                break
        waited = (records.now() - expected).total_seconds()
        assert LATER[runs] * STALL_AFTER < waited <= LATER[runs] * STALL_AFTER + 10


async def test_who_was_lost_once_is_not_given_up_for_it_after_its_end(world: World) -> None:
    """A deployment that was run again, succeeded, and is revoked after that."""
    await world.running("model", kind="model_deployment")
    async with world.store.transaction() as tx:
        assert await ladder.run_again(tx, await records.get(tx, "model"), runs=1)
        await records.end(tx, Ending(instance="model", outcome="READY"))
        assert await desired_state.roll_back(tx, "model", {"READY"}, "it is worse")
    await world.relay.sweep()
    await world.relay.carried()
    assert world.engine.calls["stop model"] == 1, "what is left of its first life is in the way"
    del world.engine.statuses["model"]
    done = await world.sweeps(2 * STALL_AFTER)
    assert (done.run_again, done.given_up) == (["model"], [])


async def test_one_that_moved_since_it_was_seen_is_not_run_again(world: World) -> None:
    await world.running("task")
    seen = await world.record("task")
    async with world.store.transaction() as tx:
        world.pass_time(1)
        await records.progress(tx, "task", status="RUNNING")
        assert not await ladder.run_again(tx, seen, runs=1)
        assert not await ladder.give_up(tx, seen, "why")


async def test_one_by_one_they_fail_alike_and_none_is_given_up(world: World) -> None:
    """Each is late at a moment of its own."""
    for number in range(4):
        world.engine.statuses[await world.running(f"task-{number}")] = "FAILED"
        world.pass_time(7)
    given_up = []
    for _ in range(200):
        world.pass_time(1)
        given_up += (await world.sweep()).given_up
        await world.relay.sweep()
        await world.relay.carried()
        world.engine.statuses.update({f"task-{number}": "FAILED" for number in range(4)})
    assert given_up == []
    assert "bad_deployment" in [one["kind"] for one in await world.asked("-")]


async def given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A task that the ladder has given up; returns the instances that are undone from then on."""
    undone: list[str] = []

    async def undo(_: Any, record: Any) -> str:
        found = await world.record(record["id"])
        assert found["direction"] == "down", "the direction stands before the first undo"
        undone.append(record["id"])
        return "all undone"

    monkeypatch.setattr(last_resort, "undo_without_engine", undo)
    await world.running("task")
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(runs=2))
    world.engine.statuses["task"] = "FAILED"
    world.pass_time(STALL_AFTER + 1)
    assert (await world.sweep()).given_up == ["task"]
    return undone


async def test_the_last_resort_stops_undoes_and_asks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = await given_up(world, monkeypatch)
    assert await last_resort.sweep(world.env, world.as_engine) == ["task"]
    assert undone == ["task"]
    (asked,) = await world.asked("task")
    assert "all undone" in asked["reason"]
    record = await world.record("task")
    assert (record["status"], record["waiting_for"]) == ("PARKED", asked["id"])
    async with world.store.transaction() as tx:
        await interventions.answer(tx, asked["id"], action="retry", note="n", by="p")
    assert (await world.sweep()).run_again == ["task"]


async def test_a_task_that_ends_during_the_climb_is_not_undone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = await given_up(world, monkeypatch)

    async def ends() -> None:
        async with world.store.transaction() as tx:
            await records.end(tx, Ending(instance="task", outcome="DONE"))

    world.engine.before_stop = ends
    assert await last_resort.sweep(world.env, world.as_engine) == []
    assert undone == []
    assert (await world.record("task"))["outcome"] == "DONE"


async def test_a_task_that_moves_during_the_climb_is_run_again_and_not_undone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = await given_up(world, monkeypatch)

    async def moves() -> None:
        async with world.store.transaction() as tx:
            await records.progress(tx, "task", status="RUNNING")

    world.engine.before_stop = moves
    assert await last_resort.sweep(world.env, world.as_engine) == []
    assert undone == []
    assert (await world.record("task"))["state"] == "accepted"


async def test_nothing_is_undone_behind_the_pivot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = await given_up(world, monkeypatch)
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(pivoted=True))
    assert await last_resort.sweep(world.env, world.as_engine) == ["task"]
    assert undone == []
    assert (await world.record("task"))["direction"] == "forward"


@pytest.mark.parametrize("heard", [False, True])
async def test_nothing_is_undone_behind_an_event_that_no_run_has_taken(
    world: World, monkeypatch: pytest.MonkeyPatch, *, heard: bool
) -> None:
    """It may be the pivot: the parcel has left, and the engine never told the run."""
    undone = await given_up(world, monkeypatch)
    event = {"event_id": "e-1", "name": "carrier", "type": "carrier.picked_up"}
    async with world.store.transaction() as tx:
        await inbox.keep(tx, instance="task", data={}, **event)
        if heard:
            await inbox.consumed(tx, "task", "carrier", "e-1", by="carrier/1")
    assert await last_resort.sweep(world.env, world.as_engine) == ["task"]
    (asked,) = await world.asked("task")
    if heard:
        assert undone == ["task"]
        return
    assert undone == []
    assert "carrier.picked_up" in asked["reason"]
    assert (await world.record("task"))["direction"] == "forward"


async def test_nothing_is_undone_beside_a_run_that_may_be_alive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = await given_up(world, monkeypatch)
    world.engine.unstoppable = True
    assert await last_resort.sweep(world.env, world.as_engine) == []
    world.engine.unstoppable, world.engine.unreadable = False, {"task"}
    world.pass_time(last_resort.CLAIM + 1)
    assert await last_resort.sweep(world.env, world.as_engine) == ["task"]
    assert undone == []
    (asked,) = await world.asked("task")
    assert "nothing was undone" in asked["reason"]


@pytest.mark.parametrize("changed", [{"input": {"nothing": "known"}}, {"kind": "of_another_day"}])
async def test_a_person_is_asked_about_a_record_that_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    undone = await given_up(world, monkeypatch)
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(changed))
    assert await last_resort.sweep(world.env, world.as_engine) == ["task"]
    assert undone == []
    (asked,) = await world.asked("task")
    assert "its record cannot be read" in asked["reason"]
    assert (await world.record("task"))["direction"] == "forward"


async def test_who_is_parked_and_cancelled_is_woken_and_not_run_again(world: World) -> None:
    incident = Incident(
        instance="task", key="task/notify", n=1, kind="step_failed", reason="no answer"
    )
    await world.running("task")
    async with world.store.transaction() as tx:
        await interventions.open_(tx, incident)
        await interventions.read_resolution(tx, incident)
        event = {"event_id": "cancel", "name": "cancel", "type": "cancel", "data": {}}
        await inbox.keep(tx, instance="task", **event)  # type: ignore[arg-type]
    done = await world.sweeps(600)
    assert (done.woken, done.run_again, done.given_up) == (["task"], [], [])


async def test_who_was_stopped_past_the_api_is_not_run_again(world: World) -> None:
    await world.running("task")
    world.engine.statuses["task"] = "TERMINATED"
    done = await world.sweeps(2 * STALL_AFTER)
    assert (done.terminated, done.run_again) == (["task"], [])
    assert (await world.record("task"))["outcome"] == "TERMINATED"
    (asked,) = await world.asked("task")
    assert asked["kind"] == "terminated"


async def test_a_start_that_never_succeeds_is_tried_less_often_and_asked_about_once(
    world: World,
) -> None:
    await world.running("task")
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(state="accepted", claimed_until=records.now()))
    names = {"task", "task~1", "task~2"}
    world.engine.unreadable = set(names)
    await world.relayed(700)
    assert world.engine.calls["schedule task"] == 3, "after that it is a later run"
    assert 3 < sum(world.engine.calls[f"stop {name}"] for name in names) < 25
    for _ in range(3):
        await world.reconciler.sweep()
    assert await world.asked("task") == [], "the engine may have been away until now"
    await world.relayed(130)
    for _ in range(3):
        await world.reconciler.sweep()
    (asked,) = await world.asked("task")
    assert (asked["kind"], asked["action"]) == ("start_failed", None)
    world.engine.unreadable = set()
    world.pass_time(61)
    await world.relay.sweep()
    await world.relay.carried()
    (asked,) = await world.asked("task")
    assert asked["action"] == "healed"


async def test_a_store_that_can_be_read_and_not_written_to_makes_nothing_a_later_run(
    world: World,
) -> None:
    await world.running("task")
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(state="accepted", claimed_until=records.now()))
    world.engine.statuses.clear()
    world.engine.read_only = True
    await world.relayed(300)
    assert world.engine.calls["schedule task"] > 6
    assert world.engine.calls["forget task"] == 0, "it would take daprd down"
    assert (await world.record("task"))["runs"] == 0
    assert (await world.record("task"))["engine_id"] == "task"


async def test_what_has_ended_and_whose_actor_is_stalled_is_run_under_another_name(
    world: World,
) -> None:
    world.engine.stalled = {"task"}
    assert await burnt(world, 60) == "task~1"
    assert world.engine.calls["forget task"] == 0, "a purge does not reach the actor"
    assert world.engine.statuses["task~1"] == "RUNNING"
    assert (await world.record("task"))["state"] == "scheduled"


async def test_what_has_ended_keeps_its_name_while_nobody_can_write(world: World) -> None:
    await world.running("task")
    world.engine.statuses["task"] = "TERMINATED"
    async with world.store.transaction() as tx:
        assert await ladder.run_again(tx, await records.get(tx, "task"), runs=1)
    world.engine.read_only = True
    await world.relayed(120)
    assert world.engine.calls["stop task"] > 6
    assert world.engine.calls["forget task"] == 0
    assert (await world.record("task"))["engine_id"] == "task"


async def test_a_slow_start_says_nothing_about_the_run_after_it(world: World) -> None:
    await world.running("task")
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(state="accepted", start_failures=1))
        slow = await records.get(tx, "task")
        assert slow is not None
        await records.ran(tx, slow)
        assert not await records.mark_scheduled(tx, "task", runs=slow["runs"])
        await records.release(tx, slow)
    after = await world.record("task")
    assert (after["state"], after["runs"], after["start_failures"]) == ("accepted", 1, 1)


async def burnt(world: World, seconds: int) -> str:
    """The engine's name of a second run after so many seconds in which its first is unreadable."""
    await world.running("task")
    async with world.store.transaction() as tx:
        assert await ladder.run_again(tx, await records.get(tx, "task"), runs=1)
    await world.relayed(seconds)
    return str((await world.record("task"))["engine_id"])


async def test_an_outage_of_the_engines_store_renames_nobody(world: World) -> None:
    world.engine.store_away = True
    assert await burnt(world, 600) == "task"


async def test_what_alone_cannot_be_read_gets_another_name_after_a_while(world: World) -> None:
    world.engine.unreadable = {"task"}
    assert await burnt(world, 1) == "task", "one failure proves nothing"


async def test_names_are_given_up_a_few_times_at_most(world: World) -> None:
    world.engine.unreadable = {"task", *(f"task~{n}" for n in range(50))}
    assert await burnt(world, 1200) == "task~2"


async def test_a_burnt_name_that_can_be_read_again_is_stopped(world: World) -> None:
    world.engine.unreadable = {"task"}
    assert await burnt(world, 30) == "task~1"
    world.engine.unreadable = set()
    await world.reconciler.sweep()
    assert world.engine.statuses == {"task": "TERMINATED", "task~1": "RUNNING"}


async def test_a_suspension_that_the_engine_missed_is_told_again(world: World) -> None:
    await world.running("task")
    async with world.store.transaction() as tx:
        await desired_state.want(tx, "task", suspended=True)
    world.engine.away = True
    assert not await world.relay.control("task")
    world.engine.away = False
    world.pass_time(desired_state.CLAIM + 1)
    await world.relay.sweep()
    await world.relay.carried()
    assert world.engine.statuses["task"] == "SUSPENDED"
    assert (await world.record("task"))["control_at"] is None


async def test_a_termination_is_carried_out_by_whoever_comes_next(world: World) -> None:
    await world.running("task")
    async with world.store.transaction() as tx:
        await desired_state.want(tx, "task", terminated_by="op-1")
    world.pass_time(desired_state.CLAIM + 1)
    await world.relay.sweep()
    await world.relay.carried()
    assert (await world.record("task"))["outcome"] == "TERMINATED"
    assert world.engine.statuses["task"] == "TERMINATED"


async def test_what_was_settled_and_never_stopped_is_stopped_and_forgotten(world: World) -> None:
    for number in range(205):
        id = await world.running(f"old-{number:03}")
        world.engine.unreadable.add(id)
        async with world.store.transaction() as tx:
            await records.end(tx, Ending(instance=id, outcome="SETTLED"))
    await world.running("settled")
    async with world.store.transaction() as tx:
        await records.end(tx, Ending(instance="settled", outcome="SETTLED"))
    world.pass_time(world.settings.retention + 1)
    for _ in range(2):
        await world.reconciler.sweep()
    assert world.engine.calls["stop settled"] == 1
    assert (await world.record("settled"))["purged"]


async def test_while_others_that_were_run_again_get_on_nobody_is_given_up_but_not_for_ever(
    world: World,
) -> None:
    for id in ("task", "slow"):
        await world.running(id)
    async with world.store.transaction() as tx:
        await tx.execute(update(table).values(runs=2))

    async def pass_time(hours: float) -> list[str]:
        given_up: list[str] = []
        for _ in range(int(hours * 12)):
            given_up += (await world.sweeps(300, 30)).given_up
            async with world.store.transaction() as tx:
                await records.progress(tx, "slow", status="RUNNING")
        return given_up

    assert await pass_time(3.9) == []
    assert await pass_time(0.5) == ["task"]
