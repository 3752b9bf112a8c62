from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from activities import ACTIVITIES
from activities.providers import Providers
from store import interventions, ladder, monitor_controls, monitors, records
from store.schema import attempts, inbox, waits
from tests.support.engine import Run
from tests.support.world import World, signed_control, world
from workflows.health_monitor import Control

ID = "monitor-1"
MONITOR: dict[str, Any] = {
    "url": "http://service.test/health",
    "check_timeout": 1,
    "healthy_interval": 3600,
    "unhealthy_interval": 300,
    "critical_after": 3,
    "notify": "on-call",
    "retry": {"attempts": 2, "first": 0.05, "cap": 0.1},
    "damping": {"within": 0},
}


def incident(n: int, *whats: str) -> list[str]:
    return [f"{ID}/incident/{n}/{what}" for what in whats]


def scripted(health: str) -> list[str]:
    """The alerts of a script in which + is a good check and - a failed one."""
    expected, n, failures = [], 0, 0
    for sign in health:
        if sign == "-":
            failures += 1
            n += failures == 1
            expected += incident(n, "warning") if failures == 1 else []
            expected += incident(n, "critical") if failures == 3 else []
        elif failures:
            expected += incident(n, "recovery")
            failures = 0
    return expected


@dataclass
class Watched:
    """A service whose health is a script by round, and a notifier that knows its keys."""

    desk: World
    health: str
    checks: int = 0
    sent: list[str] = field(default_factory=list)  # effects
    requests: int = 0
    notifier_down: bool = False
    copies: int = 1  # how often every activity is run
    deaths: Iterator[bool] | None = None  # whether the process dies after the next activity

    async def activity(self, name: str, message: dict[str, Any]) -> Any:
        if name == "health.check":
            # By the round that the store is in: a check that is made again finds the same.
            async with self.desk.store.reading() as tx:
                row = await monitors.get(tx, ID)
            assert row is not None
            sign = self.health[min(row["generation"], len(self.health) - 1)]
            self.checks += 1
            return {"healthy": sign == "+", "reason": sign}
        for _ in range(self.copies):
            answer = await ACTIVITIES[name](self.desk.env, message)
        if self.deaths and next(self.deaths):
            raise SystemExit
        return None if answer is None else answer.model_dump(mode="json")

    def notify(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.notifier_down:
            return httpx.Response(503)
        key = request.headers["Idempotency-Key"]
        if key not in self.sent:
            self.sent.append(key)
        return httpx.Response(200, json={"result": "applied"})

    def run(self, **changes: Any) -> Run:
        return Run("health_monitor", ID, {**MONITOR, "id": ID, **changes}, self.activity)

    async def control(self, action: str, event_id: str | None = None, **settings: Any) -> None:
        made = {"action": action, "event_id": event_id, "settings": settings or None}
        async with self.desk.store.transaction() as tx:
            await monitor_controls.keep(tx, ID, Control.model_validate(made))

    async def state(self) -> Any:
        async with self.desk.store.reading() as tx:
            return await monitors.get(tx, ID)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with world(tmp_path) as desk:
        made = Watched(desk, "+")
        transport = httpx.MockTransport(made.notify)
        desk.env.providers = Providers(
            lambda _: httpx.AsyncClient(transport=transport, base_url="http://notifier.test")
        )
        await desk.accept("health_monitor", ID, MONITOR)
        yield made
        await desk.env.providers.aclose()


HEALTH = "++-+--+---+-----++-+----"


async def test_alerts_on_transitions_alone(watched: Watched) -> None:
    watched.health = HEALTH
    run = await watched.run().advance(generations=len(HEALTH) + 1)
    assert watched.sent == scripted(HEALTH)
    assert watched.requests == len(watched.sent)
    assert watched.checks == len(HEALTH)
    assert run.input["generation"] == len(HEALTH) + 1


async def test_sleeps_an_hour_when_healthy_and_five_minutes_when_not(watched: Watched) -> None:
    watched.health = "+-"
    run = await watched.run().advance(timers=False)
    record = await watched.desk.record(ID)
    assert (record["status"], record["waiting_for"]) == ("WAITING", "control")
    state = await watched.state()
    assert (record["due_at"] - state["checked_at"]).total_seconds() == 3600
    await run.advance(generations=2)
    await run.advance(timers=False)
    record, state = await watched.desk.record(ID), await watched.state()
    assert (record["due_at"] - state["checked_at"]).total_seconds() == 300


async def test_a_run_that_is_lost_goes_on_where_it_was_and_says_nothing_twice(
    watched: Watched,
) -> None:
    """The process dies after a random activity, again and again; each time a new run begins."""
    watched.health = "".join(random.Random(3).choice("++---") for _ in range(60))
    dice = random.Random(4)
    watched.deaths = iter(lambda: dice.random() < 0.15, None)
    deaths = 0
    while (await watched.state() or {"generation": 0})["generation"] < len(watched.health):
        try:
            await watched.run(unhealthy_interval=0.05, healthy_interval=0.05).advance(
                generations=20
            )
        except SystemExit:
            deaths += 1
    watched.deaths = None
    await watched.run().advance(timers=False)
    assert deaths > 20
    assert watched.sent == scripted(watched.health)


async def test_two_runs_at_once_say_nothing_twice(watched: Watched) -> None:
    watched.health = HEALTH
    runs = [watched.run(), watched.run()]
    dice = random.Random(5)
    while (await watched.state() or {"generation": 0})["generation"] < len(HEALTH):
        run = dice.choice(runs)
        await run.advance(generations=run.generations + dice.choice((1, 2)))
    for run in runs:
        await run.advance(timers=False)
    assert watched.sent == scripted(HEALTH)
    assert watched.requests == len(watched.sent)


async def test_activities_that_are_run_twice_compare_once(watched: Watched) -> None:
    watched.health, watched.copies = HEALTH, 2
    await watched.run().advance(generations=len(HEALTH) + 1)
    assert watched.sent == scripted(HEALTH)
    assert (await watched.state())["incident"] == 6


async def test_history_and_rows_are_bounded(watched: Watched) -> None:
    watched.health = "+++------+" * 30
    run = watched.run()
    sizes = []
    for generation in (21, 121, 281):
        await run.advance(generations=generation)
        await run.advance(timers=False)
        async with watched.desk.store.reading() as tx:
            rows = [len((await tx.execute(t.select())).all()) for t in (attempts, inbox, waits)]
        sizes.append((len(run.history), len(json.dumps(run.input)) // 10, rows))
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0][0] < 20


async def test_an_alert_that_cannot_be_sent_stays_due_and_a_person_is_asked(
    watched: Watched,
) -> None:
    watched.health, watched.notifier_down = "--+", True
    run = await watched.run().advance(generations=3)
    async with watched.desk.store.reading() as tx:
        (asked,) = await interventions.of_instance(tx, ID)
    assert (asked["id"], asked["blocking"]) == (f"{ID}/incident/1/warning/1", False)
    watched.notifier_down = False
    await run.advance(generations=4)
    assert watched.sent == scripted("--+")


async def test_three_hundred_controls_none_lost_none_twice(watched: Watched) -> None:
    """Through the API and past it, single and in bursts, repeated, and with lost signals."""
    run, dice = await watched.run(healthy_interval=1).advance(timers=False), random.Random(6)
    actions = [dice.choice(("pause", "resume", "update")) for _ in range(299)] + ["resume"]
    expected: dict[str, Any] = {"paused": False, "settings": {}}
    for number, action in enumerate(actions):
        settings = {"check_timeout": 1 + number / 100} if action == "update" else {}
        expected["settings"] |= settings
        expected["paused"] = action == "pause" if action != "update" else expected["paused"]
        past = dice.random() < 0.4
        for _ in range(dice.choice((1, 1, 2))):
            if past:
                raised = signed_control(ID, action, f"e-{number}", settings or None)
                run.raise_event("control", json.dumps(raised) if number % 2 else raised)
            else:
                await watched.control(action, f"e-{number}", **settings)
                if dice.random() < 0.8:
                    run.raise_event("control")
        if past or dice.random() < 0.5:
            # What came past the API is in no order with what came through it before it is kept.
            await run.advance(generations=run.generations + dice.choice((1, 2, 3)), timers=False)
            await run.advance(timers=False)
    run.raise_event("control")
    await run.advance(timers=False)
    state = await watched.state()
    assert state["controls"] == 300
    assert {name: state[name] for name in expected} == expected


async def test_controls_raised_during_every_turn_survive_continuing_as_new(
    watched: Watched,
) -> None:
    """Each lands in the very turn in which the timer of the round before fires."""
    run = watched.run(healthy_interval=1)
    for number in range(100):
        await run.advance(timers=False)
        assert run._fire_next_timer()
        for copy in range(3):
            settings = {"critical_after": copy + 1}
            raised = signed_control(ID, "update", f"e-{number}-{copy}", settings)
            run.raise_event("control", raised)
    await run.advance(timers=False)
    assert (await watched.state())["controls"] == 300


async def test_pause_resume_and_stop(watched: Watched) -> None:
    run = await watched.run().advance(timers=False)
    await watched.control("pause")
    run.raise_event("control")
    await run.advance()
    record = await watched.desk.record(ID)
    assert (watched.checks, record["status"], record["due_at"]) == (1, "WAITING", None)
    await watched.control("resume")
    run.raise_event("control")
    await run.advance(generations=run.generations + 2)
    assert watched.checks == 1
    await run.advance(generations=run.generations + 1)
    assert watched.checks == 2
    await watched.control("stop")
    run.raise_event("control")
    await run.advance()
    assert run.output == "STOPPED"
    assert (await watched.desk.record(ID))["outcome"] == "STOPPED"
    again = await watched.run().advance()
    assert (again.output, watched.checks) == ("STOPPED", 2)


async def test_a_control_makes_no_check_before_its_time(watched: Watched) -> None:
    watched.health = "-"
    run = await watched.run().advance(timers=False)
    for _ in range(5):
        await watched.control("update", critical_after=3)
        run.raise_event("control")
        await run.advance(timers=False)
    assert watched.checks == 1
    assert watched.sent == incident(1, "warning")


@pytest.mark.parametrize(
    "raised",
    [
        {"action": "explode"},
        {"action": "update"},
        {"action": "update", "settings": {"url": "file:///etc/passwd"}},
        {"action": "stop", "settings": {"critical_after": 1}},
        {"action": "stop", "padding": "x" * 5000},
        "stop",
        ["stop"],
        7,
    ],
)
async def test_nonsense_that_is_raised_past_the_api_changes_nothing(
    watched: Watched, raised: Any
) -> None:
    run = await watched.run().advance(timers=False)
    for _ in range(3):
        run.raise_event("control", raised)
        await run.advance(timers=False)
    state = await watched.state()
    assert (state["controls"], state["stopped"]) == (0, False)
    async with watched.desk.store.reading() as tx:
        (asked,) = await interventions.of_instance(tx, ID)
    assert asked["kind"] == "forged"


async def test_our_own_inert_wake_up_signals_are_not_carried_for_ever(watched: Watched) -> None:
    run = await watched.run().advance(timers=False)
    empty = len(run.history)
    for name in ("wake", "cancel", "reconcile", "intervention") * 10:
        run.raise_event(name)
    await run.advance(generations=3)
    await run.advance(timers=False)
    assert len(run.history) == empty


async def test_applied_controls_are_forgotten_beyond_a_window(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_controls, "REMEMBERED", 20)
    run = await watched.run().advance(timers=False)
    for number in range(50):
        await watched.control("pause", f"e-{number}")
        run.raise_event("control")
        await run.advance(timers=False)
    async with watched.desk.store.reading() as tx:
        kept = (await tx.execute(inbox.select())).mappings().all()
    assert {row["event_id"] for row in kept} == {f"e-{number}" for number in range(30, 50)}


async def test_the_ladder_hears_a_control_that_nobody_was_told_of(watched: Watched) -> None:
    await watched.run().advance(timers=False)
    async with watched.desk.store.transaction() as tx:
        await records.mark_scheduled(tx, ID)
        assert await ladder.late(tx, 0, None, 10) == []
    await watched.control("pause")
    async with watched.desk.store.reading() as tx:
        assert [row["id"] for row in await ladder.late(tx, 0, None, 10)] == [ID]
