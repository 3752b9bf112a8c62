"""The application on the container cluster and Postgres: at least one batch for every victim, every
duplicate and every outage, and no unknown. `make conformance` judges the rest.
"""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Judge, assert_passed


@pytest.mark.parametrize(
    ("fault", "paths", "at_least"),
    [
        ("app:kill", ("order_fulfilment/fulfilled", "task_processing/done"), 90),
        ("app:pause", ("model_deployment/bad-canary",), 60),
        ("daprd:kill", ("approval/approved", "order_fulfilment/not-served"), 90),
        ("daprd:cut", ("task_processing/dashboard-refused",), 50),
        ("scheduler:kill", ("document_signing/signed", "health_monitor/incident"), 120),
        ("placement:kill", ("order_fulfilment/not-found",), 60),
        ("store:kill", ("model_deployment/ready", "order_fulfilment/payment-captured"), 100),
        ("store:cut", ("health_monitor/controls",), 40),
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
    assert_passed(judge(outages, "order_fulfilment/fulfilled", "document_signing/declined"), 25)


def test_a_graceful_stop_of_the_application(judge: Judge) -> None:
    assert_passed(judge("app:stop", "task_processing/done"), 35)


def test_every_mutant_is_caught_at_its_own_point(judge: Judge) -> None:
    """Last of all: it leaves instances behind that will never settle."""
    assert [f"{missed.mutant}: {missed.reason}" for missed in judge.mutants()] == []
