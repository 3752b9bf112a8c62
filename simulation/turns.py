"""One turn of one instance, on the SDK's own executor, and what the engine writes of it."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

import dapr.ext.workflow._durabletask.internal.helpers as ph
import dapr.ext.workflow._durabletask.internal.protos as pb
from dapr.ext.workflow._durabletask import worker as sdk

END_OF_TIME = 9999  # the year of a timer that never fires: an indefinite wait

_log = logging.getLogger("simulation.sdk")
_log.setLevel(logging.CRITICAL)


def begun(at: datetime, version: str = "") -> Any:
    """The event that begins a turn; `at` is naive, in UTC."""
    event = ph.new_workflow_started_event(at)
    if version:
        event.workflowStarted.version.name = version
    return event


def started(kind: str, id: str, input: str) -> Any:
    """The event that begins an instance, or a generation of one."""
    return ph.new_execution_started_event(kind, id, input)


def execute(registry: Any, id: str, history: list[Any], new: list[Any]) -> Any:
    """Replays the history and then takes the new events, as a cold worker does."""
    return sdk._OrchestrationExecutor(registry, _log).execute(id, history, new)


def written(action: Any) -> Any:
    """What the history says of an action that was carried out; `None` of one that ends a run.

    Raises:
        NotImplementedError: no workflow of ours may do that.
    """
    if action.HasField("scheduleTask"):
        task = action.scheduleTask
        return ph.new_task_scheduled_event(action.id, task.name, task.input.value)
    if action.HasField("createTimer"):
        timer = action.createTimer
        event = pb.HistoryEvent(
            eventId=action.id, timerCreated=pb.TimerCreatedEvent(fireAt=timer.fireAt)
        )
        if origin := timer.WhichOneof("origin"):
            getattr(event.timerCreated, origin).CopyFrom(getattr(timer, origin))
        return event
    if action.HasField("completeWorkflow"):
        return None
    raise NotImplementedError(str(action.WhichOneof("workflowActionType")))


def fires_at(action: Any) -> datetime | None:
    """When a timer is due, naive and in UTC; `None` is never."""
    due: datetime = action.createTimer.fireAt.ToDatetime()
    return None if due.year == END_OF_TIME else due


def fired(number: int, at: datetime) -> Any:
    """A timer's end."""
    return ph.new_timer_fired_event(number, at)


def completed(number: int, output: Any) -> Any:
    """An activity's answer."""
    return ph.new_task_completed_event(number, None if output is None else json.dumps(output))


def failed(number: int, error: Exception) -> Any:
    """An activity's exception."""
    return ph.new_task_failed_event(number, error)


def raised(name: str, data: Any) -> Any:
    """An event from outside; the engine turns whatever is falsy into nothing."""
    return ph.new_event_raised_event(name, json.dumps(data) if data else None)


def status_of(done: Any) -> str:
    """The status that a completing action leads to."""
    name: str = pb.OrchestrationStatus.Name(done.workflowStatus)
    return name.removeprefix("ORCHESTRATION_STATUS_")
