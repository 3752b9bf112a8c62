"""One run of one workflow instance: its beginning and end, waits, and what only a person settles.

Waiting is a pull, never a push: a raised event is only a signal, the inbox in the store is the
truth. So a lost, repeated, early or forged event does no harm.

Histories are bounded: what may go on for days begins anew after so many rounds (`Renewed`). The
next generation finds in the store what was done, because every effect has its key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dapr.ext.workflow import DaprWorkflowContext, when_any

from workflows.messages import (
    Answer,
    Call,
    Ending,
    Event,
    Incident,
    IncidentKind,
    Pivot,
    Resolution,
    Result,
    RetryRule,
    RunPermit,
    Settling,
    Start,
    Wait,
    WaitResult,
)
from workflows.run import Run, Yields
from workflows.steps import Step

__all__ = ["Abort", "End", "Instance", "Renewed", "Yields"]

# Instances that were under way before this go on as their histories have it.
PATCH = "real-durations"
ROUNDS = 25  # of polling, or of waiting for the reconciliation loop, in one generation


class Abort(Exception):
    """Turns an instance down. `refused` tells a business refusal from a fault or a cancel."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class Renewed(Exception):
    """Ends a generation: the instance goes on with a fresh history, and with `handed_on`."""

    def __init__(self, **handed_on: Any) -> None:
        super().__init__("continues as new")
        self.handed_on = handed_on


@dataclass(frozen=True)
class End:
    """How an instance ends: its outcome, why, and what else is to be shown of it."""

    outcome: str
    reason: str | None = None
    detail: dict[str, Any] | None = None


class Instance(Run):
    """One run of one instance; `carried` is what the generation before handed on."""

    def __init__(self, ctx: DaprWorkflowContext) -> None:
        super().__init__(ctx)
        self._permit = RunPermit(proceed=False)
        self.carried: Mapping[str, Any] = {}
        self.patched = True  # `False` in replays of what was under way before
        self._rounds = 0
        self._waits: Counter[str] = Counter()
        self._incidents: Counter[str] = Counter()

    def begin(self, kind: str, version: str) -> Yields[RunPermit]:
        """Asks the record whether this run may proceed, in which direction, and with which input.

        An instance that was never accepted, or has ended, does nothing: the engine runs a
        finished id again when asked to, and anyone who reaches the sidecar can ask.
        """
        self.patched = self.is_patched(PATCH)
        start = Start(instance=self.id, engine_id=self._ctx.instance_id, kind=kind, version=version)
        self._permit = RunPermit.model_validate((yield from self._store("record.begin", start)))
        return self._permit

    def is_patched(self, name: str) -> bool:
        """Whether a change is meant for this instance: `False` for what began before it."""
        return bool(self._ctx.is_patched(name))

    def equip(
        self, input: Any, steps: Sequence[Step], others: Sequence[Step], carried: Mapping[str, Any]
    ) -> None:
        """Takes what the accepted input says of how to run, and what was handed on."""
        self._retry, self.carried = input.retry, carried

    def wait(
        self, name: str, timeout: float, types: tuple[str, ...] = (), pivot: Pivot | None = None
    ) -> Yields[Event | None]:
        """Waits up to `timeout` seconds for a kept event; `None` when it did not come.

        The deadline is fixed by the first run that waits and kept in the store, so a later run
        of the same instance does not start the clock again.

        Raises:
            Abort: somebody cancelled.
        """
        due = self.turn_time() + timedelta(seconds=timeout)
        return (yield from self.wait_until(name, due, types, pivot))

    def deadline(self, name: str, timeout: float) -> Yields[datetime]:
        """The moment `timeout` seconds after the first run asked for it, the same in every run."""
        due = self.turn_time() + timedelta(seconds=timeout)
        name = f"deadline:{name}"
        wait = Wait(instance=self.id, name=name, token=name, due=due, ahead=True)
        taken = yield from self._take(wait)
        return taken.due or due

    def wait_until(
        self, name: str, due: datetime, types: tuple[str, ...] = (), pivot: Pivot | None = None
    ) -> Yields[Event | None]:
        """Waits for a kept event until `due`, or until what an earlier run of this wait fixed.

        Only the `types` that are named end it. Once `pivot` has come, a cancel is too late.

        Raises:
            Abort: somebody cancelled.
        """
        yield from self._stop_if_cancelled()
        self._waits[name] += 1
        wait = Wait(
            instance=self.id,
            name=name,
            token=f"{name}/{self._waits[name]}",
            types=types,
            pivot=pivot,
        )
        taken = yield from self._take(wait.model_copy(update={"due": due}))
        if taken.event or taken.expired:
            return taken.event
        timer = self._ctx.create_timer(taken.due or due)
        while True:
            signal, cancel = self._signal(name), self._signal("cancel")
            yield when_any([signal, cancel, timer])
            yield from self._stop_if_cancelled()
            raised = self._take_signal(name)
            if raised is None and not timer.is_complete:
                continue
            heard = {"final": timer.is_complete, "raised": raised, "at": self.turn_time()}
            taken = yield from self._take(wait.model_copy(update=heard))
            if taken.event or taken.expired:
                return taken.event

    def end(self, end: End) -> Yields[str]:
        """Keeps the outcome in the record, where it outlives the engine's instance."""
        ending = Ending(instance=self.id, outcome=end.outcome, reason=end.reason, detail=end.detail)
        yield from self._store("record.end", ending)
        return end.outcome

    def _try(
        self,
        activity: str,
        name: str,
        body: dict[str, Any],
        rule: RetryRule | None = None,
        **more: Any,
    ) -> Yields[Answer]:
        call = Call(instance=self.id, key=self._key(name), body=body, **more)
        return (yield from self._call(activity, call, rule or self._retry))

    def _effect(
        self,
        activity: str,
        name: str,
        body: dict[str, Any],
        settling: Settling,
        cancellable: bool = False,
        **more: Any,
    ) -> Yields[Answer]:
        """Carries out an effect; one that is pending is asked for until it has settled.

        It is `exhausted` once nothing was heard of it for `silence` seconds, or it is pending for
        longer than `within`; as long as its heart beats it may take its time. Asking is a sign of
        life, and says when it is asked again.

        Raises:
            Abort: somebody cancelled.
        """
        every = settling.every
        answer = yield from self._try(activity, name, body, look_again=every, **more)
        inquiry = {"operation": activity, "look_again": every}
        while answer.result == "pending":
            yield from self._pause(every, cancellable)
            asked = yield from self._try(settling.ask, name, inquiry)
            answer = settling.judge(asked)
            if answer.result == "pending":
                self._count_round()
        return answer

    def _pause(self, seconds: float, cancellable: bool) -> Yields[None]:
        timer = self._ctx.create_timer(timedelta(seconds=seconds))
        while not timer.is_complete:
            yield when_any([timer, self._signal("cancel")] if cancellable else [timer])
            if cancellable:
                yield from self._stop_if_cancelled()

    def _count_round(self) -> None:
        self._rounds += 1
        if self.patched and self._rounds >= ROUNDS:
            raise Renewed

    def _open(
        self, name: str, kind: IncidentKind, answer: Answer, *, blocking: bool = True
    ) -> Yields[Incident]:
        key = self._key(name)
        self._incidents[key] += 1
        kinds: dict[Result, IncidentKind] = {"parked": "poison", "too_late": "too_late"}
        incident = Incident(
            instance=self.id,
            key=key,
            n=self._incidents[key],
            kind=kinds.get(answer.result, kind),
            reason=f"{answer.result}: {answer.reason or 'no reason given'}"[:500],
            blocking=blocking,
        )
        yield from self._store("record.open_intervention", incident)
        return incident

    def _resolution(self, incident: Incident, *, cancellable: bool = False) -> Yields[str]:
        while True:
            if cancellable:
                yield from self._stop_if_cancelled()
            resolution = Resolution.model_validate(
                (yield from self._store("record.read_resolution", incident))
            )
            if resolution.action:
                return resolution.action
            signals = [self._signal("intervention")]
            yield when_any([*signals, self._signal("cancel")] if cancellable else signals)
            heard = {"raised": self._take_signal("intervention")}
            incident = incident.model_copy(update=heard)

    def _stop_if_cancelled(self) -> Yields[None]:
        raised = self._take_signal("cancel")
        if raised is None:
            return
        wait = Wait(instance=self.id, name="cancel", token="cancel/1", raised=raised)
        taken = yield from self._take(wait)
        if taken.event:
            raise Abort("cancelled")

    def _take(self, wait: Wait) -> Yields[WaitResult]:
        return WaitResult.model_validate((yield from self._store("record.take", wait)))
