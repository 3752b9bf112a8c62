"""A training of two days, with every default: nothing of it is taken for stuck."""

from __future__ import annotations

from typing import Any

import pytest

from simulation.clock import EPOCH
from simulation.evidence import moment
from simulation.result import Result
from simulation.schedule import DAY, HOUR, Crash
from simulation.stories.plot import Plot
from tests.simulation.judged import SOON, effects, judged, plot

MODEL = {"model": "scoring", "dataset": "d-1", "version": "v2"}
POLL, PATIENCE = 60.0, 900.0  # seconds: how often it is asked for, and how long it may be silent
STEPS = [
    "ml.generate_data",
    "ml.train",
    "ml.push_artifact",
    "ml.create_config",
    "ml.authorize",
    "ml.check_canary",
]


def training(story: str, pending: dict[str, Any], **rule: Any) -> Plot:
    drawn = plot(story, "/deployments", MODEL)
    drawn.script("ml.train", {"pending": pending}, **rule)
    return drawn


@pytest.fixture(scope="module")
def undisturbed() -> Result:
    return two_days()


def two_days(*kills: Crash) -> Result:
    pending = {"settle": "applied", "after": 2 * DAY, "heartbeat": True}
    return judged(training("deployment-hours", pending), disturbances=kills)


def ended_at(result: Result) -> float:
    (record,) = result.records.values()
    return moment(record["ended_at"]) - EPOCH


def test_a_training_of_two_days_is_trained_once_and_nobody_minds(undisturbed: Result) -> None:
    assert effects(undisturbed) == STEPS
    asked_for = {one["key"] for one in undisturbed.attempts if one["operation"] == "ml.train"}
    assert asked_for == {"deployment-hours.0/train/1"}
    assert undisturbed.interventions == []
    assert undisturbed.counts["raised wake"] == 0
    assert undisturbed.counts["started"] == 1
    assert undisturbed.counts["FAILED"] == 0
    assert 2 * DAY < ended_at(undisturbed) < 2 * DAY + POLL + SOON


def test_kills_every_hour_change_nothing_of_it(undisturbed: Result) -> None:
    kills = [Crash(replica=hour % 2, at=hour * HOUR, down=20.0) for hour in range(1, 48)]
    result = two_days(*kills)
    made = [(one["operation"], one["key"], one["detail"]) for one in undisturbed.effects]
    assert [(one["operation"], one["key"], one["detail"]) for one in result.effects] == made
    assert result.interventions == []
    assert result.counts["raised wake"] == 0
    assert result.counts["started"] == 1
    assert abs(ended_at(result) - ended_at(undisturbed)) < 2 * POLL


def test_a_heart_that_stops_is_found_by_the_run_within_its_patience() -> None:
    silent = training("deployment-silent", {"silent_after": 10 * HOUR}, times=1)
    result = judged(silent)
    (asked,) = result.interventions
    assert asked["id"] == f"{silent.id}/train/1/1"
    assert asked["kind"] == "step_failed", "the run has found it, not the ladder"
    assert "silent for" in asked["reason"]
    found = moment(asked["opened_at"]) - EPOCH - silent.begins - 10 * HOUR
    assert PATIENCE < found < PATIENCE + POLL + SOON
    assert effects(result) == [STEPS[0], "notifier.send", *STEPS[1:]], "a person was notified"
    trained = [one["key"] for one in result.effects if one["operation"] == "ml.train"]
    assert trained == [f"{silent.id}/train/2"], "as a person has ordered"
    assert result.counts["raised wake"] == 0
    assert result.counts["started"] == 1
