"""Deployments: trained for hours, silent, ill, rolled back, waiting for a service that is away."""

from __future__ import annotations

from collections.abc import Mapping

from simulation.schedule import DAY, HOUR, Script
from simulation.stories.plot import OPERATOR, Plot, Story


def _deployment(plot: Plot, version: str = "v2") -> None:
    plot.start("/deployments", {"model": f"m-{plot.id}", "version": version, "dataset": "d-1"})


def _training(plot: Plot, hours: float) -> None:
    after = round(hours * HOUR, 3)
    plot.script("ml.train", {"pending": {"settle": "applied", "after": after, "heartbeat": True}})
    plot.moments.append(plot.begins + after)


def _deployment_quick(plot: Plot) -> None:
    _deployment(plot)


def _deployment_hours(plot: Plot) -> None:
    _deployment(plot)
    _training(plot, plot.between(1, 4))


def _deployment_silent(plot: Plot) -> None:
    """The heartbeat stops: a person is asked, orders another training, and that one is well."""
    _deployment(plot)
    silent = round(plot.between(60, HOUR), 3)
    plot.script("ml.train", {"pending": {"silent_after": silent}}, times=1)
    plot.moments.append(plot.begins + silent + 900)


def _deployment_bad(plot: Plot) -> None:
    _deployment(plot, "v-bad")


def _deployment_revoked(plot: Plot) -> None:
    _deployment(plot)
    plot.call(plot.between(HOUR, 3 * DAY), f"/deployments/{plot.id}/rollback", **OPERATOR)


def _deployment_cancelled(plot: Plot) -> None:
    _deployment_hours(plot)
    plot.cancel(plot.between(0, HOUR))


def _deployment_without_config(plot: Plot) -> None:
    """The scoring service is away: completed without a person once it is back."""
    _deployment(plot)
    match = {"operation": "ml.create_config", "instance": plot.id}
    lasts = plot.between(60, 2 * HOUR)
    rule = {"match": match, "then": {"status": 503}}
    plot.scripts.append(Script(rule=rule, at=max(0.0, plot.begins - 1), lasts=lasts))
    plot.moments.append(plot.begins + lasts)


STORIES: Mapping[str, Story] = {
    "deployment-quick": Story("model_deployment", frozenset({"READY"}), _deployment_quick),
    "deployment-hours": Story(
        "model_deployment", frozenset({"READY"}), _deployment_hours, weight=0.05
    ),
    "deployment-silent": Story(
        "model_deployment", frozenset({"READY"}), _deployment_silent, weight=0.05, asks=True
    ),
    "deployment-bad": Story("model_deployment", frozenset({"ROLLED_BACK"}), _deployment_bad),
    "deployment-revoked": Story(
        "model_deployment", frozenset({"ROLLED_BACK"}), _deployment_revoked
    ),
    "deployment-cancelled": Story(
        "model_deployment", frozenset({"ROLLED_BACK"}), _deployment_cancelled, weight=0.05
    ),
    "deployment-without-config": Story(
        "model_deployment", frozenset({"READY"}), _deployment_without_config, weight=0.02
    ),
}
