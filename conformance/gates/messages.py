"""What the messages between worker and sidecar say, as far as a gate needs to know it.

They are read with the SDK's own message classes, which are the same in every language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dapr.ext.workflow._durabletask.internal import protos as pb

ENDINGS = {
    pb.ORCHESTRATION_STATUS_COMPLETED: "COMPLETED",
    pb.ORCHESTRATION_STATUS_FAILED: "FAILED",
    pb.ORCHESTRATION_STATUS_TERMINATED: "TERMINATED",
}
# News that need no name, in words for people.
WORDS = {
    "executionStarted": "started",
    "executionTerminated": "terminated",
    "executionSuspended": "suspended",
    "executionResumed": "resumed",
    "timerFired": "timer",
    "childWorkflowInstanceCompleted": "after a child",
    "childWorkflowInstanceFailed": "after a child failed",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """A workflow turn on its way to the worker.

    `execution` is set on the first turn of an execution. `past` is the number of events that were
    committed before: it tells a turn that is dispatched again from the next one. `results` are the
    tasks whose results it brings (and whether they failed), `events` the names of raised events.
    """

    instance: str
    execution: str | None
    past: int
    results: tuple[tuple[int, bool], ...]
    events: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Activity:
    """An activity on its way to the worker."""

    instance: str
    name: str
    task: int


@dataclass(frozen=True, slots=True)
class TurnAnswer:
    """What the worker says to a turn: tasks it wants, and whether this was the last one."""

    instance: str
    scheduled: tuple[int, ...]
    ended: str | None
    continued: bool


@dataclass(frozen=True, slots=True)
class ActivityAnswer:
    """What the worker says to an activity."""

    instance: str
    task: int


def read_item(raw: bytes) -> Turn | Activity | None:
    """A work item; `None` is one that belongs to no instance."""
    item = pb.WorkItem.FromString(raw)
    kind = item.WhichOneof("request")
    if kind == "workflowRequest":
        return _turn(item.workflowRequest)
    if kind == "activityRequest":
        request = item.activityRequest
        return Activity(request.workflowInstance.instanceId, request.name, request.taskId)
    return None


def _turn(request: Any) -> Turn:
    execution: str | None = None
    results: list[tuple[int, bool]] = []
    events: list[str] = []
    words: list[str] = []
    for event in request.newEvents:
        kind = event.WhichOneof("eventType")
        if kind == "taskCompleted":
            results.append((event.taskCompleted.taskScheduledId, False))
        elif kind == "taskFailed":
            results.append((event.taskFailed.taskScheduledId, True))
        elif kind == "eventRaised":
            events.append(event.eventRaised.name)
        elif kind in WORDS:
            words.append(WORDS[kind])
            if kind == "executionStarted":
                execution = event.executionStarted.workflowInstance.executionId.value
    past = len(request.pastEvents) + request.cachedHistory.eventCount
    return Turn(request.instanceId, execution, past, tuple(results), tuple(events), tuple(words))


def read_turn_answer(raw: bytes) -> TurnAnswer:
    """The worker's answer to a turn."""
    response = pb.WorkflowResponse.FromString(raw)
    scheduled: list[int] = []
    ended, continued = None, False
    for action in response.actions:
        kind = action.WhichOneof("workflowActionType")
        if kind == "scheduleTask":
            scheduled.append(action.id)
        elif kind == "completeWorkflow":
            status = action.completeWorkflow.workflowStatus
            ended = ENDINGS.get(status)
            continued = status == pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW
    return TurnAnswer(response.instanceId, tuple(scheduled), ended, continued)


def read_activity_answer(raw: bytes) -> ActivityAnswer:
    """The worker's answer to an activity."""
    response = pb.ActivityResponse.FromString(raw)
    return ActivityAnswer(response.instanceId, response.taskId)


def read_start(raw: bytes) -> str:
    """The instance that is to be started; empty when the sidecar is to make up an id."""
    return str(pb.CreateInstanceRequest.FromString(raw).instanceId)


def read_event(raw: bytes) -> tuple[str, str]:
    """The instance that is told something, and the event's name."""
    request = pb.RaiseEventRequest.FromString(raw)
    return request.instanceId, request.name
