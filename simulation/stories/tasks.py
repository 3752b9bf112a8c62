"""Tasks: done, refused on the way, cancelled."""

from __future__ import annotations

from collections.abc import Mapping

from simulation.schedule import Script
from simulation.stories.plot import Plot, Story

BURST = 40  # more than what is no queue


def _task(plot: Plot) -> None:
    plot.start("/tasks", {"title": "count the stock", "assignee": f"p-{plot.rng.randint(1, 3)}"})


def _task_full(plot: Plot) -> None:
    _task(plot)
    plot.script("directory.reserve_capacity", {"refuse": "no_capacity"})


def _task_hidden(plot: Plot) -> None:
    _task(plot)
    rule = {
        "match": {"operation": "directory.update_dashboard", "key": f"{plot.id}/update_dashboard"},
        "then": {"refuse": "no_such_board"},
    }
    plot.scripts.append(Script(rule=rule, at=max(0.0, plot.begins - 1)))


def _task_cancelled(plot: Plot) -> None:
    _task(plot)
    plot.cancel(plot.between(0, 1))


def _task_burst(plot: Plot) -> None:
    """Many at once, and every one of them has to wait for its turn."""
    for number in range(BURST):
        body = {"id": f"{plot.id}-{number}", "title": "count the stock", "assignee": "p-1"}
        plot.call(0, "/tasks", body)


STORIES: Mapping[str, Story] = {
    "task": Story("task_processing", frozenset({"DONE"}), _task, frozenset({"COMPENSATED"}), 2),
    "task-full": Story("task_processing", frozenset({"COMPENSATED"}), _task_full),
    "task-hidden": Story("task_processing", frozenset({"COMPENSATED"}), _task_hidden),
    "task-cancelled": Story("task_processing", frozenset({"COMPENSATED", "DONE"}), _task_cancelled),
    # Drawn on purpose only.
    "task-burst": Story("task_processing", frozenset({"DONE"}), _task_burst, weight=1e-9),
}
