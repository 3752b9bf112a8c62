"""Drives workflow code without a cluster, on the SDK's own executor and a clock that jumps.

Every turn replays the whole history from its beginning, as a cold worker does; code that would
take another path the second time fails here with the SDK's own NonDeterminismError.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dapr.ext.workflow._durabletask.internal.helpers as ph
import dapr.ext.workflow._durabletask.internal.protos as pb
from dapr.ext.workflow._durabletask import worker as sdk

from app.replay import registry

MAX_TURNS = 500
Activity = Callable[[str, dict[str, Any]], Awaitable[Any]]


@dataclass
class Run:
    """One run of one instance: started, then advanced until it ends or has nothing to do."""

    kind: str
    id: str
    input: dict[str, Any]
    activity: Activity
    clock: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))
    history: list[Any] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    status: str = "RUNNING"
    output: Any = None
    failure: str = ""
    generations: int = 1  # of an instance that continues as new

    def __post_init__(self) -> None:
        self._pending: list[Any] = [
            ph.new_execution_started_event(self.kind, self.id, json.dumps(self.input))
        ]
        self._timers: list[tuple[datetime, int, int, Any]] = []
        self._order = itertools.count()
        self._registry = registry()

    def ring(self, name: str, data: Any = None) -> None:
        """Raises an event; without data, a doorbell."""
        self._pending.append(ph.new_event_raised_event(name, json.dumps(data or {"ring": True})))

    async def advance(self, *, timers: bool = True, generations: int | None = None) -> Run:
        """Turns until the instance ends, or waits; with `timers`, the clock jumps to the next.

        What continues as new for ever is left at the beginning of the generation that is named.
        """
        for _ in range(MAX_TURNS if generations is None else sys.maxsize):
            if self.status != "RUNNING" or self.generations == generations:
                return self
            if not self._pending and (not timers or not self._fire_next_timer()):
                return self
            await self._turn()
        raise AssertionError(f"{self.id} did not settle within {MAX_TURNS} turns")

    def _fire_next_timer(self) -> bool:
        self._timers.sort(key=lambda timer: timer[:2])
        # An indefinite wait is a timer at the end of time.
        if not self._timers or self._timers[0][0].year == 9999:
            return False
        at, _, number, action = self._timers.pop(0)
        self.clock = max(self.clock, at)
        self._pending.append(
            ph.new_timer_fired_event(number, action.createTimer.fireAt.ToDatetime())
        )
        return True

    def _continue_as_new(self, done: Any) -> None:
        # A fresh history: what is carried over, and what has come in the meantime; no old timer.
        self.input = json.loads(done.result.value)
        started = ph.new_execution_started_event(self.kind, self.id, done.result.value)
        self._pending = [started, *done.carryoverEvents, *self._pending]
        self._timers, self.history = [], []
        self.generations += 1

    async def _turn(self) -> None:
        started = ph.new_workflow_started_event(self.clock)
        new = [started, *self._pending]
        self._pending = []
        executor = sdk._OrchestrationExecutor(self._registry, logging.getLogger("executor"))
        result = executor.execute(self.id, self.history, new)
        # The engine keeps what a turn said of its version in the event that began the turn.
        started.workflowStarted.version.patches.extend(result.patches or ())
        self.history.extend(new)
        for action in result.actions:
            await self._carry_out(action)

    async def _carry_out(self, action: Any) -> None:
        if action.HasField("scheduleTask"):
            name, raw = action.scheduleTask.name, action.scheduleTask.input.value
            self.history.append(ph.new_task_scheduled_event(action.id, name, raw))
            message = json.loads(raw)
            self.calls.append((name, message))
            try:
                answer = await self.activity(name, message)
            except Exception as error:
                self._pending.append(ph.new_task_failed_event(action.id, error))
            else:
                self._pending.append(ph.new_task_completed_event(action.id, json.dumps(answer)))
        elif action.HasField("createTimer"):
            timer = action.createTimer
            at = timer.fireAt.ToDatetime()
            origin = timer.WhichOneof("origin")
            event = ph.new_timer_created_event(action.id, timer.fireAt)
            if origin:
                getattr(event.timerCreated, origin).CopyFrom(getattr(timer, origin))
            self.history.append(event)
            self._timers.append((at, next(self._order), action.id, action))
        elif action.HasField("completeWorkflow"):
            done = action.completeWorkflow
            if done.workflowStatus == pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW:
                self._continue_as_new(done)
                return
            self.status = pb.OrchestrationStatus.Name(done.workflowStatus).removeprefix(
                "ORCHESTRATION_STATUS_"
            )
            self.output = json.loads(done.result.value) if done.result.value else None
            self.failure = done.failureDetails.errorMessage
        else:
            raise AssertionError(f"unexpected action {action}")
