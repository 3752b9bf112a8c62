"""A task: put it on record, reserve the assignee's time, tell the assignee, show it.

Telling somebody cannot be untold, so its undo is a second message that takes the first one back;
the provider sends that one only where the first was sent.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from workflows.definition import Version
from workflows.instance import Yields
from workflows.messages import Message, RetryRule
from workflows.saga import Saga, Step


class Task(Message):
    """What the workflow needs of a task. `effort` is in minutes."""

    id: str
    title: str
    assignee: str
    effort: int
    retry: RetryRule = Field(default_factory=RetryRule)


def steps(task: Task) -> tuple[Step, ...]:
    """The table of the saga; what each undo has to say is known from the input."""
    taken_back = {"to": task.assignee, "template": "task_cancelled"}
    return (
        Step(
            "create_record", "directory.create_record", "delete_record", "directory.delete_record"
        ),
        Step(
            "reserve_capacity",
            "directory.reserve_capacity",
            "release_capacity",
            "directory.release_capacity",
        ),
        Step("notify", "notifier.send", "send_cancellation", "notifier.send", taken_back),
        Step(
            "update_dashboard",
            "directory.update_dashboard",
            "mark_cancelled",
            "directory.update_dashboard",
            {"state": "cancelled"},
        ),
    )


def task_processing(saga: Saga, task: Task) -> Yields[str]:
    """Ends DONE, or COMPENSATED with everything taken back."""
    table = steps(task)
    bodies: tuple[dict[str, Any], ...] = (
        {"title": task.title, "assignee": task.assignee},
        {"assignee": task.assignee, "effort": task.effort},
        {"to": task.assignee, "template": "task_assigned"},
        {"state": "assigned"},
    )

    def forward() -> Yields[None]:
        for step, body in zip(table, bodies, strict=True):
            yield from saga.step(step, body)

    outcome = yield from saga.run(forward)
    return (yield from saga.end("DONE" if outcome.done else "COMPENSATED", outcome.reason))


V1 = Version("task_processing", "v1", task_processing, Task, steps=steps)
