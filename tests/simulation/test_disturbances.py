"""Each disturbance provably fires, and an order comes through all the same."""

from __future__ import annotations

from typing import Any

import pytest

from simulation.result import Result
from simulation.schedule import (
    HOUR,
    Amnesia,
    Away,
    ClockJump,
    Crash,
    Message,
    Misdelivery,
    Pause,
    Schedule,
    Script,
    Slow,
    Stop,
    StoreAway,
    Wedge,
)
from simulation.world import simulate
from tests.simulation.starts import one_order
from tests.support.shop import FULFILLED

CHARGE = {"match": {"operation": "payment.charge"}, "then": {"drop": True}, "times": 1}

EVERY = {
    "a crash at a time": Crash(at=1.06),
    "a crash before a commit": Crash(point="commit", at=1.0, nth=3),
    "a crash after a commit": Crash(point="committed", at=1.0, nth=3),
    "a crash before a statement": Crash(point="statement", at=1.0, nth=9),
    "a crash before a call to a provider": Crash(point="request", at=1.0),
    "a crash after a provider's answer": Crash(point="response", at=1.0),
    "a crash before an activity": Crash(point="activity", at=1.0),
    "a crash before a completion": Crash(point="completion", at=1.0),
    "a crash before a turn": Crash(point="turn", at=1.0),
    "a crash after a turn": Crash(point="decided", at=1.0),
    "a pause with the store's lock": Pause(point="commit", at=1.0, nth=2),
    "a pause before a charge": Pause(point="request", at=1.0),
    "a graceful stop": Stop(at=1.05),
    "a lost start": Message(link="client", fault="lose_request"),
    "a lost answer to a start": Message(link="client", fault="lose_response"),
    "a start that comes twice": Message(link="client", fault="repeat"),
    "a charge whose answer is lost": Message(link="provider", fault="lose_response"),
    "a charge that comes twice": Message(link="provider", fault="repeat"),
    "a callback that is late": Message(link="webhook", fault="delay", seconds=4.0),
    "a callback that comes twice": Message(link="webhook", fault="repeat"),
    "a start that the engine does not hear": Message(
        link="engine", fault="lose_request", path="start"
    ),
    "a turn twice": Misdelivery(fault="twice", nth=3),
    "an activity twice": Misdelivery(item="activity", fault="twice", nth=2),
    "a turn that is lost": Misdelivery(fault="lost", nth=4),
    "an activity that is lost": Misdelivery(item="activity", fault="lost", nth=3),
    "an event that is lost": Misdelivery(item="event", fault="lost"),
    "a stale turn": Misdelivery(fault="stale", nth=4),
    "a damaged history": Misdelivery(fault="failed", nth=4),
    "an instance that is forgotten": Amnesia(fault="forgotten", at=1.2, instance="order-1"),
    "an instance that cannot be read": Amnesia(fault="unreadable", at=1.2, instance="order-1"),
    "an ended instance that runs again": Amnesia(fault="again", at=9.0, instance="order-1"),
    "a slow engine": Slow(at=1.0, rate=0.5, lasts=60),
    "an engine that is away": Away(at=1.1, lasts=20),
    "an engine that hangs": Away(at=1.1, lasts=20, manner="hangs"),
    "a wedge": Wedge(at=1.05),
    "a provider's answer that is dropped": Script(rule=CHARGE, at=0.5),
    "a store that is away": StoreAway(at=1.1, lasts=5),
    "a clock that jumps": ClockJump(at=1.1, by=120.0),
}


def charged_once(result: Result) -> None:
    operations = [effect["operation"] for effect in result.effects]
    assert [each for each in operations if each in FULFILLED] == FULFILLED
    assert "payment.refund" not in operations


@pytest.mark.parametrize("name", EVERY)
def test_an_order_comes_through(name: str) -> None:
    schedule = one_order(EVERY[name], replicas=1 if "crash" in name or "pause" in name else 2)
    result = simulate(schedule)
    assert result.fired[0] >= 1, "it proves nothing"
    assert result.errors == []
    assert result.settled
    assert result.records["order-1"]["outcome"] == "FULFILLED"
    charged_once(result)


def test_a_first_start_that_nobody_heard_of_and_nobody_can_read_is_made_under_another_name() -> (
    None
):
    lost = Message(link="engine", fault="lose_response", path="start")
    unread = Amnesia(fault="unreadable", at=1.0, instance="order-1")
    result = simulate(one_order(lost, unread, until=HOUR))
    assert result.fired == [1, 1], "it proves nothing"
    assert result.records["order-1"]["outcome"] == "FULFILLED"
    assert any("order-1~1" in line for line in result.log)
    charged_once(result)


def test_a_process_that_dies_in_a_transaction_has_written_nothing() -> None:
    crash = Crash(point="commit", at=1.0, nth=1, down=5.0)
    result = simulate(one_order(crash, replicas=1))
    # The first commit after 1 s is that of the accepted start, which was not answered yet.
    assert result.answers[0].tries >= 2
    assert result.records["order-1"]["accepted_at"] > "2027-01-15T08:00:06"


def test_nothing_of_a_dead_process_runs_on() -> None:
    # Its `except` and `finally` would write that the attempt failed.
    result = simulate(one_order(Crash(point="request", at=1.0), replicas=1))
    attempts = [
        one for one in result.records["order-1"]["timeline"] if one.get("key") == "order-1/charge"
    ]
    assert [one["result"] for one in attempts] == ["unfinished", "applied"]


def test_a_process_that_stood_still_goes_on_as_a_zombie() -> None:
    pause = Pause(replica=0, point="request", at=1.0, lasts=20.0)
    runs: list[Any] = [simulate(one_order(pause, seed=seed)) for seed in range(3)]
    # The audit asks, too, but it changes nothing.
    hit = [run for run in runs if any("reached request: POST" in line for line in run.log)]
    assert hit
    for run in hit:
        keys = [one["key"] for one in run.attempts if one["operation"] in FULFILLED]
        assert len(keys) > len(set(keys)), "the zombie's call never came"
        charged_once(run)


def test_what_never_meets_anything_does_not_fire() -> None:
    schedule = Schedule(disturbances=(Crash(point="activity", at=1.0),))
    assert simulate(schedule).fired == [0]
