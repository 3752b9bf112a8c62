"""Drives workflow code without a cluster, on the simulation's turns and a clock that jumps.

Every turn replays the whole history from its beginning, as a cold worker does; code that would
take another path the second time fails here with the SDK's own NonDeterminismError.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from app.replay import registry
from simulation import turns
from workflows import WORKFLOWS, Workflow

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
    workflows: Sequence[Workflow] = WORKFLOWS

    def __post_init__(self) -> None:
        self._pending: list[Any] = [turns.started(self.kind, self.id, json.dumps(self.input))]
        self._timers: list[tuple[datetime, int, int]] = []
        self._order = itertools.count()
        self._registry = registry(tuple(self.workflows))

    def raise_event(self, name: str, data: Any = None) -> None:
        """Raises an event; without data, a wake-up signal."""
        self._pending.append(turns.raised(name, data or {"ring": True}))

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

    async def pass_time(self, **by: float) -> Run:
        """Advances so far that nothing is left to do until then."""
        until = self.clock + timedelta(**by)
        await self.advance(timers=False)
        while self.status == "RUNNING" and self._timers and min(self._timers)[0] <= until:
            self._fire_next_timer()
            await self.advance(timers=False)
        self.clock = max(self.clock, until)
        return self

    def _fire_next_timer(self) -> bool:
        if not self._timers:
            return False
        self._timers.sort()
        at, _, number = self._timers.pop(0)
        self.clock = max(self.clock, at)
        self._pending.append(turns.fired(number, at))
        return True

    def _continue_as_new(self, done: Any) -> None:
        # A fresh history: what is carried over, and what has come in the meantime; no old timer.
        self.input = json.loads(done.result.value)
        started = turns.started(self.kind, self.id, done.result.value)
        self._pending = [started, *done.carryoverEvents, *self._pending]
        self._timers, self.history = [], []
        self.generations += 1

    async def _turn(self) -> None:
        begun = turns.begun(self.clock)
        new = [begun, *self._pending]
        self._pending = []
        result = turns.execute(self._registry, self.id, self.history, new)
        # The engine keeps what a turn said of its version in the event that began the turn.
        begun.workflowStarted.version.patches.extend(result.patches or ())
        self.history.extend(new)
        for action in result.actions:
            await self._carry_out(action)

    async def _carry_out(self, action: Any) -> None:
        event = turns.written(action)
        if event is None:
            self._complete(action.completeWorkflow)
            return
        self.history.append(event)
        if action.HasField("createTimer"):
            at = turns.fires_at(action)
            if at is not None:
                self._timers.append((at, next(self._order), action.id))
            return
        name, message = action.scheduleTask.name, json.loads(action.scheduleTask.input.value)
        self.calls.append((name, message))
        try:
            answer = await self.activity(name, message)
        except Exception as error:
            self._pending.append(turns.failed(action.id, error))
        else:
            self._pending.append(turns.completed(action.id, answer))

    def _complete(self, done: Any) -> None:
        status = turns.status_of(done)
        if status == "CONTINUED_AS_NEW":
            self._continue_as_new(done)
            return
        self.status = status
        self.output = json.loads(done.result.value) if done.result.value else None
        assert self.output in self._outcomes(), f"{self.output} is no outcome of its definition"
        self.failure = done.failureDetails.errorMessage

    def _outcomes(self) -> set[str | None]:
        """What a run may end with: what its definition says, and what others make of it."""
        ours = [each for each in self.workflows if each.kind == self.kind]
        declared = {outcome for each in ours for outcome in each.done | each.undone}
        return {*declared, *(None, "NOT_ACCEPTED", "TERMINATED", "SETTLED")}
