"""A task: put it on record, reserve the assignee's time, tell the assignee, show it.

Telling somebody cannot be untold, so its undo is a second message that takes the first one back;
the provider sends that one only where the first was sent.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from workflows.definition import Workflow
from workflows.inputs import Input, Phrase, Whole, Word
from workflows.instance import End, Yields
from workflows.saga import Saga
from workflows.steps import Step, Undo


class Task(Input):
    """A task for somebody; `effort` in minutes."""

    title: Phrase
    assignee: Word
    effort: Whole = Field(default=60, ge=1, le=60 * 24 * 365)


def _taken_back(task: Task) -> dict[str, Any]:
    return {"to": task.assignee, "template": "task_cancelled"}


CREATE = Step(
    "create_record", "directory.create_record", Undo("delete_record", "directory.delete_record")
)
RESERVE = Step(
    "reserve_capacity",
    "directory.reserve_capacity",
    Undo("release_capacity", "directory.release_capacity"),
)
NOTIFY = Step("notify", "notifier.send", Undo("send_cancellation", "notifier.send", _taken_back))
SHOW = Step(
    "update_dashboard",
    "directory.update_dashboard",
    Undo("mark_cancelled", "directory.update_dashboard", lambda _: {"state": "cancelled"}),
)


def task_processing(saga: Saga, task: Task) -> Yields[End]:
    """Ends DONE, or COMPENSATED with everything taken back."""

    def forward() -> Yields[None]:
        yield from saga.step(CREATE, {"title": task.title, "assignee": task.assignee})
        yield from saga.step(RESERVE, {"assignee": task.assignee, "effort": task.effort})
        yield from saga.step(NOTIFY, {"to": task.assignee, "template": "task_assigned"})
        yield from saga.step(SHOW, {"state": "assigned"})

    outcome = yield from saga.run(forward)
    return outcome.as_end("DONE", "COMPENSATED")


V1 = Workflow(
    kind="task_processing",
    version="v1",
    path="/tasks",
    input=Task,
    body=task_processing,
    steps=(CREATE, RESERVE, NOTIFY, SHOW),
    done={"DONE"},
    undone={"COMPENSATED"},
)
