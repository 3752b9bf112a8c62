"""Monitors: watched for hours or weeks, with outages, paused, and stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulation.schedule import DAY, HOUR
from simulation.stories.plot import OPERATOR, WITNESS, Plot, Story


def _monitor(plot: Plot, days: float, outages: int) -> None:
    """Watched for some days, with outages of hours, changed on the way, and stopped."""
    plot.start("/monitors", {"url": f"{WITNESS}/health/{plot.id}"}, **OPERATOR)
    at = 0.0
    for _ in range(outages):
        at += plot.between(2 * HOUR, days * DAY / (outages + 1))
        _health(plot, at, 503)
        at += plot.between(1.2 * HOUR, 6 * HOUR)
        _health(plot, at, 200)
    _control(plot, max(at + 3 * HOUR, days * DAY), {"action": "stop"})


def _health(plot: Plot, after: float, status: int) -> None:
    plot.call(after, f"/health/{plot.id}", {"status": status}, method="PUT", to="witness")


def _control(plot: Plot, after: float, control: dict[str, Any]) -> None:
    body = {"event_id": f"{plot.id}-{control['action']}", **control}
    plot.call(after, f"/monitors/{plot.id}/control", body, **OPERATOR)


def _monitor_hours(plot: Plot) -> None:
    _monitor(plot, 0.3, 1)


def _monitor_weeks(plot: Plot) -> None:
    _monitor(plot, 21, plot.rng.randint(1, 5))


def _monitor_paused(plot: Plot) -> None:
    """Paused for days: no check, no alert; then resumed, changed, and stopped."""
    plot.start("/monitors", {"url": f"{WITNESS}/health/{plot.id}"}, **OPERATOR)
    _control(plot, 1.5 * HOUR, {"action": "pause"})
    _health(plot, 2 * HOUR, 503)
    _health(plot, 50 * HOUR, 200)
    _control(plot, 51 * HOUR, {"action": "resume"})
    update = {"action": "update", "settings": {"healthy_interval": 1800}}
    _control(plot, 52 * HOUR, update)
    _control(plot, 54 * HOUR, {"action": "stop"})


STORIES: Mapping[str, Story] = {
    "monitor-hours": Story("health_monitor", frozenset({"STOPPED"}), _monitor_hours, weight=0.05),
    "monitor-weeks": Story("health_monitor", frozenset({"STOPPED"}), _monitor_weeks, weight=0.002),
    "monitor-paused": Story("health_monitor", frozenset({"STOPPED"}), _monitor_paused, weight=0.05),
}
