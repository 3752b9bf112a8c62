"""The application on the container cluster and Postgres: at least one batch for every victim, every
duplicate and every outage, and no unknown. `make conformance` judges the rest.
"""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Judge, assert_passed


@pytest.mark.parametrize(
    ("fault", "paths", "at_least"),
    [
        ("app:kill", ("order_fulfilment/fulfilled",), 55),
        ("app:pause", ("approval/automatic",), 20),
        ("daprd:kill", ("order_fulfilment/not-served",), 50),
        ("daprd:cut", ("task_processing/done",), 30),
        ("scheduler:kill", ("document_signing/declined", "health_monitor/stopped"), 80),
        ("placement:kill", ("approval/approved",), 45),
        ("store:kill", ("model_deployment/ready",), 50),
        ("store:cut", ("health_monitor/controls",), 35),
    ],
)
def test_every_point_with_one_fault(
    judge: Judge, fault: str, paths: tuple[str, ...], at_least: int
) -> None:
    assert_passed(judge(fault, *paths), at_least)


def test_whatever_is_delivered_twice(judge: Judge) -> None:
    judged = judge("duplicate", "order_fulfilment/fulfilled", "approval/approved")
    assert_passed(judged, 90)
    doubled = {each.point.partition(":")[0] for each in judged}
    assert doubled == {"client", "start", "event", "turn", "activity"}


def test_whatever_the_providers_do_to_us(judge: Judge) -> None:
    outages = "outage:refused outage:5xx outage:timeout outage:lost outage:slow"
    judged = judge(outages, "order_fulfilment/fulfilled")
    assert_passed(judged, 20)
    assert {each.fault for each in judged} == {"refused", "5xx", "timeout", "lost", "slow"}


def test_a_graceful_stop_of_the_application(judge: Judge) -> None:
    assert_passed(judge("app:stop", "task_processing/done"), 35)


def test_every_mutant_is_caught_at_its_own_point(judge: Judge) -> None:
    """Last of all: it leaves instances behind that will never settle."""
    assert [f"{missed.mutant}: {missed.reason}" for missed in judge.mutants()] == []
