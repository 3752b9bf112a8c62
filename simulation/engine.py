"""The engine: instances, histories, timers and work items, on the SDK's own executor.

It does what Dapr 1.18 was seen to do: everything at least once; an ended id runs again; a raised
event waits for its wait; a terminated instance lets its activity finish; an answer finds
its instance by id and task number, whatever run or generation that is. Its own faults it has where
the schedule says so.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Protocol

import dapr.ext.workflow._durabletask.internal.helpers as ph
import dapr.ext.workflow._durabletask.internal.protos as pb

from simulation import turns
from simulation.clock import EPOCH
from simulation.instance import Instance, Item
from simulation.loop import Loop
from simulation.misdeliveries import Misdeliveries

DISPATCH = 0.02  # seconds, at most, from a wake-up to its work item
NOTICE = 1.5  # seconds until the work of a worker that is gone is dispatched again
BEGINNING = datetime.fromtimestamp(EPOCH, UTC).replace(tzinfo=None)
DAMAGED = (
    "NonDeterminismError",
    "A previous execution called call_activity with ID=3, but the current execution doesn't have "
    "this action with this ID.",
)


class Taker(Protocol):
    """A connected worker, as the engine sees it."""

    def take(self, item: Item) -> None:
        """Begins to work on it."""


class Engine:
    """All instances of one application."""

    def __init__(
        self,
        loop: Loop,
        chance: Random,
        registry: Any,
        log: Callable[[str, str], None],
        faults: Misdeliveries,
        capacity: float,
    ) -> None:
        self.instances: dict[str, Instance] = {}
        self.calls: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.rate = self._capacity = capacity
        self.away = ""
        self._loop = loop
        self._chance = chance
        self._registry = registry
        self._log = log
        self._faults = faults
        self._workers: list[Taker] = []
        self._held: deque[Item] = deque()
        self._free_at = 0.0

    # What others ask of it.

    @property
    def connected(self) -> bool:
        """Whether any worker is there."""
        return bool(self._workers)

    def connect(self, worker: Taker) -> None:
        """A worker opens its stream of work items."""
        self._workers.append(worker)
        self._release()

    def disconnect(self, worker: Taker, items: list[Item], notice: float = NOTICE) -> None:
        """A worker is gone; what it had is dispatched again once that is noticed."""
        if worker in self._workers:
            self._workers.remove(worker)
        for item in items:
            self._loop.at(self._loop.time() + notice, self._deliver, item)

    def start(self, kind: str, id: str, input: str) -> Instance:
        """Begins an instance, whatever was there before under its id."""
        self._forget_timers(self.instances.get(id))
        instance = self.instances[id] = Instance(id, kind, input)
        self.counts["started"] += 1
        self.push(instance, turns.started(kind, id, input))
        return instance

    def push(self, instance: Instance, event: Any) -> None:
        """Something happened to an instance: it gets a turn."""
        self._loop.active()
        instance.pending.append(event)
        self._wake(instance)

    def slow(self, rate: float | None) -> None:
        """At most so many work items a second; `None`: as many as ever."""
        self.rate = self._capacity if rate is None else rate

    def leave(self, manner: str) -> None:
        """It is away, in this manner; or, with an empty one, back."""
        self.away = manner
        self._loop.active()
        self._release()

    def forget(self, instance: Instance) -> None:
        """It has never heard of it."""
        self._forget_timers(instance)
        if self.instances.get(instance.id) is instance:
            del self.instances[instance.id]

    def end(self, instance: Instance, status: str, failure: tuple[str, str] | None = None) -> None:
        """An instance ends, now."""
        instance.status, instance.failure = status, failure
        instance.turn = None
        instance.pending.clear()
        self._forget_timers(instance)
        self.counts[status] += 1
        self._log(instance.id, f"{status} {instance.output or failure or ''}")

    # Work items.

    def decide(self, item: Item) -> Any:
        """What the workflow's code does in a turn; no effect on anything."""
        return turns.execute(self._registry, item.instance.id, item.instance.history, item.events)

    def decided(self, item: Item, result: Any) -> None:
        """A turn's answer arrives."""
        instance = item.instance
        if (
            item.done
            or instance.turn is not item
            or self.instances.get(instance.id) is not instance
        ):
            return
        item.done, instance.turn = True, None
        if instance.unreadable:
            return
        self._loop.active()
        instance.history.extend(item.events)
        del instance.pending[: len(item.events) - 1]
        self._note(instance, item.events, result)
        if instance.damage == "failed":
            self.end(instance, "FAILED", DAMAGED)
            return
        stale, instance.damage = instance.damage == "stale", ""
        for action in () if stale else result.actions:
            self._carry_out(instance, action)
        if instance.pending:
            self._wake(instance)

    def answered(self, item: Item, event: Any) -> None:
        """An activity's answer arrives; it finds whatever runs under the id by now."""
        item.done = True
        instance = self.instances.get(item.instance.id)
        if instance is not None and not instance.ended and not instance.unreadable:
            self.push(instance, event)

    def _note(self, instance: Instance, events: list[Any], result: Any) -> None:
        instance.version = instance.version or result.version_name or ""
        if instance.version:
            events[0].workflowStarted.version.name = instance.version
        events[0].workflowStarted.version.patches.extend(result.patches or ())
        for event in events:
            if event.HasField("executionSuspended"):
                instance.status = "SUSPENDED"
            elif event.HasField("executionResumed"):
                instance.status = "RUNNING"

    def _wake(self, instance: Instance) -> None:
        if instance.turn is None and not instance.unreadable:
            instance.turn = Item(instance, "turn")
            self._dispatch(instance.turn)

    def _dispatch(self, item: Item) -> None:
        fault = self._faults.of(item.kind, item.instance.id)
        if fault == "lost":
            item.instance.turn = None if item.kind == "turn" else item.instance.turn
            return
        if fault in ("stale", "failed"):
            item.instance.damage = fault
        for _ in range(2 if fault == "twice" else 1):
            at = self._loop.time() + self._chance.random() * DISPATCH
            if self.rate:
                at = self._free_at = max(at, self._free_at + 1 / self.rate)
            self._loop.at(at, self._deliver, item)

    def _deliver(self, item: Item) -> None:
        if item.done or (item.kind == "turn" and item.instance.turn is not item):
            return
        if self.away or not self._workers:
            self._held.append(item)
            return
        if item.kind == "turn":
            item.events = [self._begin(item.instance), *item.instance.pending]
        self.counts[item.kind] += 1
        self._chance.choice(self._workers).take(item)

    def _begin(self, instance: Instance) -> Any:
        return turns.begun(self._now(), instance.version)

    def _release(self) -> None:
        if self._workers and not self.away:
            held, self._held = self._held, deque()
            for item in held:
                self._loop.at(self._loop.time() + self._chance.random(), self._deliver, item)

    # What a turn leads to.

    def _carry_out(self, instance: Instance, action: Any) -> None:
        event = turns.written(action)
        if event is not None:
            instance.history.append(event)
        if action.HasField("scheduleTask"):
            name, message = action.scheduleTask.name, action.scheduleTask.input.value
            key = json.loads(message or "{}").get("key", "")
            self.calls[instance.id].append((name, key))
            self._dispatch(Item(instance, "activity", action.id, name, message))
        elif action.HasField("createTimer"):
            self._set_timer(instance, action)
        else:
            self._complete(instance, action.completeWorkflow)

    def _set_timer(self, instance: Instance, action: Any) -> None:
        due = turns.fires_at(action)
        if due is not None:
            at = (due - BEGINNING) / timedelta(seconds=1)
            timer = self._loop.at(at, self._fire, instance, action.id, due)
            instance.timers[action.id] = timer

    def _fire(self, instance: Instance, number: int, due: datetime) -> None:
        if instance.timers.pop(number, None) is None or instance.unreadable:
            return
        if self.away:
            self._loop.active()
            instance.timers[number] = self._loop.at(
                self._loop.time() + 1, self._fire, instance, number, due
            )
            return
        if self._faults.of("timer", instance.id) != "lost":
            self.push(instance, turns.fired(number, due))

    def _complete(self, instance: Instance, done: Any) -> None:
        if done.workflowStatus == pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW:
            self._forget_timers(instance)
            instance.input, instance.history = done.result.value, []
            instance.generation += 1
            first = turns.started(instance.kind, instance.id, instance.input)
            instance.pending = [first, *done.carryoverEvents, *instance.pending]
            return
        details = done.failureDetails
        instance.output = done.result.value
        failure = (details.errorType, details.errorMessage) if details.errorType else None
        self.end(instance, turns.status_of(done), failure)

    def _forget_timers(self, instance: Instance | None) -> None:
        if instance is not None:
            for timer in instance.timers.values():
                timer.cancel()
            instance.timers.clear()

    def _now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._loop.time())

    # What a client may ask.

    def raise_event(self, instance: Instance, name: str, data: Any) -> None:
        """An event for an instance; one that has ended never hears of it."""
        self.counts[f"raised {name}"] += 1
        if not instance.ended and self._faults.of("event", instance.id) != "lost":
            self.push(instance, turns.raised(name, data))

    def terminate(self, instance: Instance) -> None:
        """It ends with its next turn."""
        if not instance.ended:
            self.push(instance, ph.new_terminated_event())

    def rest(self, instance: Instance, *, suspended: bool) -> None:
        """It takes no step, or goes on."""
        if not instance.ended:
            self.push(instance, ph.new_suspend_event() if suspended else ph.new_resume_event())
