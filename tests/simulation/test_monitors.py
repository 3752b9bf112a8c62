"""Monitors that watch for long: a month of five here, a year of fifty by a variable.

`STEADFAST_MONITORED_YEAR=1 pytest tests/simulation/test_monitors.py` takes an hour and more of CPU.
"""

from __future__ import annotations

import os

from simulation.clock import EPOCH
from simulation.evidence import moment
from simulation.result import Result
from simulation.schedule import DAY, HOUR
from simulation.stories.plot import OPERATOR, WITNESS, Plot
from tests.simulation.judged import SOON, judged, plot

MONITORS, DAYS = (50, 365) if os.environ.get("STEADFAST_MONITORED_YEAR") else (5, 30)
EVERY = 20  # days between two outages
LASTS = 6 * HOUR  # of an outage
ILL = 300.0  # seconds between checks of what is ill
FIRST, CRITICAL = 1, 3  # failures in a row at which an alert is sent


def outages(number: int) -> list[float]:
    """When the service of a monitor goes down, each at an hour of its own."""
    return [day * DAY + number * 1_111.0 for day in range(3, DAYS - 1, EVERY)]


def watched(number: int) -> Plot:
    drawn = plot("monitor-weeks", "/monitors", {}, **OPERATOR)
    drawn.id = f"monitor-weeks.{number}"
    drawn.calls.clear()
    drawn.start("/monitors", {"url": f"{WITNESS}/health/{drawn.id}"}, **OPERATOR)
    for at in outages(number):
        for after, status in ((at, 503), (at + LASTS, 200)):
            drawn.call(after, f"/health/{drawn.id}", {"status": status}, method="PUT", to="witness")
    stop = {"event_id": f"{drawn.id}-stop", "action": "stop"}
    drawn.call(DAYS * DAY, f"/monitors/{drawn.id}/control", stop, **OPERATOR)
    return drawn


def alerted_at(result: Result, id: str) -> list[tuple[str, float]]:
    """The alerts of a monitor in the ledger, and when they were sent."""
    return [
        (one["detail"]["template"].removeprefix("health_"), moment(one["at"]) - EPOCH)
        for one in result.effects
        if one["instance"] == id
    ]


def test_monitors_tell_of_every_outage_once_and_in_time_and_check_every_hour() -> None:
    plots = [watched(number) for number in range(MONITORS)]
    result = judged(*plots, until=(DAYS + 5) * DAY)
    for number, drawn in enumerate(plots):
        alerts = alerted_at(result, drawn.id)
        downs = outages(number)
        assert [what for what, _ in alerts] == ["warning", "critical", "recovery"] * len(downs)
        for n, down in enumerate(downs):
            warning, critical, recovery = (at - drawn.begins for _, at in alerts[3 * n : 3 * n + 3])
            assert 0 <= warning - down < HOUR + SOON
            assert abs(critical - warning - (CRITICAL - FIRST) * ILL) < 2 * SOON
            assert 0 <= recovery - down - LASTS < ILL + SOON
        checks = sum(name == "health.check" for name, _ in result.calls[drawn.id])
        most = DAYS * 24 + len(downs) * LASTS * (1 / ILL - 1 / HOUR)
        # It is seen up to an hour late that a service is ill.
        assert 0.999 * most - len(downs) * HOUR / ILL - 2 < checks < most + 2
        assert result.records[drawn.id]["outcome"] == "STOPPED"
    assert result.interventions == []
    assert result.counts["raised wake"] == 0
    assert result.counts["started"] == MONITORS
    assert result.counts["FAILED"] == 0


def test_a_monitor_that_is_paused_for_two_days_is_left_alone() -> None:
    drawn = watched(0)
    drawn.calls[1:] = []
    for after, action in ((1.5 * HOUR, "pause"), (2 * DAY, "resume"), (2 * DAY + HOUR, "stop")):
        control = {"event_id": f"{drawn.id}-{action}", "action": action}
        drawn.call(after, f"/monitors/{drawn.id}/control", control, **OPERATOR)
    result = judged(drawn, until=4 * DAY)
    assert result.records[drawn.id]["outcome"] == "STOPPED"
    assert result.interventions == []
    assert result.counts["raised wake"] == 0
    assert result.counts["started"] == 1
