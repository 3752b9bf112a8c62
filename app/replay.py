"""Drives today's workflow code with recorded histories, without a cluster.

A workflow that is under way is replayed from its history at every turn; code that would take
another path than the one recorded fails in production, hours later. Here it fails before it
ships, and the message names the step. The SDK has the parts but no such check: this feeds a
recorded history, event by event, to its own executor.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dapr.ext.workflow._durabletask.internal.protos as pb
from dapr.ext.workflow import DaprWorkflowContext
from dapr.ext.workflow._durabletask import worker as sdk
from google.protobuf.json_format import MessageToDict, ParseDict

from workflows import WORKFLOWS, Workflow, function
from workflows.definition import WorkflowFunction


@dataclass(frozen=True)
class Divergence:
    """Where today's code leaves the recorded path."""

    history: str
    event: int
    why: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.history}: at event {self.event}: {self.why}"


def registry(workflows: tuple[Workflow, ...] = WORKFLOWS) -> Any:
    """The SDK's registry with these workflows."""
    found = sdk._Registry()
    for workflow in workflows:
        run = _as_registered(function(workflow, workflows))
        found.add_named_orchestrator(workflow.kind, run, workflow.version, workflow.latest)
    return found


def _as_registered(run: WorkflowFunction) -> Any:
    return lambda ctx, message: run(DaprWorkflowContext(ctx), message)


def save(events: list[Any], path: Path) -> None:
    """Keeps a history as a fixture, without stack traces: they tell of a machine, not of a path."""
    for event in events:
        if event.HasField("taskFailed"):
            event.taskFailed.failureDetails.ClearField("stackTrace")
    content = {"events": [MessageToDict(event) for event in events]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def load(path: Path) -> list[Any]:
    """A history that was kept."""
    content = json.loads(path.read_text())
    return [ParseDict(event, pb.HistoryEvent()) for event in content["events"]]


def replay(path: Path, workflows: tuple[Workflow, ...] = WORKFLOWS) -> Divergence | None:
    """Replays one history; `None` when today's code takes the recorded path to its end."""
    return next(_divergences(path.stem, load(path), registry(workflows)), None)


def _divergences(name: str, events: list[Any], known: Any) -> Iterator[Divergence]:
    executor = sdk._OrchestrationExecutor(known, logging.getLogger(__name__))
    ctx = sdk._RuntimeOrchestrationContext(name)
    for number, event in enumerate(events):
        if event.HasField("executionCompleted"):
            yield from _ending(name, number, event.executionCompleted, ctx)
            return
        try:
            executor.process_event(ctx, event)
        except Exception as error:
            # NonDeterminismError where the SDK notices, and whatever else the code runs into.
            why = f"the history has {_recorded(event)}; {type(error).__name__}: {error}"
            yield Divergence(name, number, why)
            return
    left = [_wanted(action) for action in ctx.get_actions()]
    if left:
        yield Divergence(name, len(events), f"today's code goes on with {', '.join(left)}")


def _ending(name: str, number: int, recorded: Any, ctx: Any) -> Iterator[Divergence]:
    actions = ctx.get_actions()
    ended = [action for action in actions if action.HasField("completeWorkflow")]
    if not ended:
        wanted = ", ".join(_wanted(action) for action in actions) or "a wait"
        yield Divergence(name, number, f"it ended there; today's code goes on with {wanted}")
    elif ended[0].completeWorkflow.result.value != recorded.result.value:
        today = ended[0].completeWorkflow.result.value
        yield Divergence(name, number, f"it ended {recorded.result.value}, today {today}")


def _recorded(event: Any) -> str:
    if event.HasField("taskScheduled"):
        return _step(event.taskScheduled)
    return str(event.WhichOneof("eventType"))


def _wanted(action: Any) -> str:
    if action.HasField("scheduleTask"):
        return _step(action.scheduleTask)
    return str(action.WhichOneof("workflowActionType"))


def _step(scheduled: Any) -> str:
    key = json.loads(scheduled.input.value or "{}").get("key")
    return f"{scheduled.name} ({key})" if key else str(scheduled.name)
