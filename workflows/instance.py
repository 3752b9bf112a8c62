"""One run of one workflow instance: effects under keys, waits, and what only a person can settle.

Waiting is a pull, never a push: a raised event is only a doorbell, the inbox in the store is the
truth. So a lost, repeated, early or forged event does no harm.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from dapr.ext.workflow import DaprWorkflowContext, RetryPolicy, TaskFailedError, when_any

from workflows.messages import (
    Answer,
    Beginning,
    Call,
    Ending,
    Event,
    Incident,
    IncidentKind,
    Message,
    Resolution,
    Result,
    RetryRule,
    Taken,
    Wait,
)

T = TypeVar("T")
Yields = Generator[Any, Any, T]

# The store belongs to the application: its outages end, and nothing sensible can be done before.
STORE_RETRY = RetryRule(attempts=20, first=0.2, cap=15)


class Abort(Exception):
    """Turns an instance down. `refused` tells a business refusal from a fault or a cancel."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class Instance:
    """One run of one instance. Everything it remembers is rebuilt by the engine's replay."""

    def __init__(self, ctx: DaprWorkflowContext, id: str, retry: RetryRule) -> None:
        self._ctx = ctx
        self._id = id
        self._retry = retry
        self._beginning = Beginning(proceed=False)
        self._doorbells: dict[str, Any] = {}
        self._waits: Counter[str] = Counter()
        self._incidents: Counter[str] = Counter()

    def begin(self) -> Yields[Beginning]:
        """Asks the record whether this run may proceed, and in which direction.

        An instance that was never accepted, or has ended, does nothing: the engine runs a
        finished id again when asked to, and anyone who reaches the sidecar can ask.
        """
        self._beginning = Beginning.model_validate(
            (yield self._store("record.begin", {"instance": self._id}))
        )
        return self._beginning

    def wait(self, name: str, timeout: float) -> Yields[Event | None]:
        """Waits up to `timeout` seconds for a kept event; `None` when it did not come.

        The deadline is fixed by the first run that waits and kept in the store, so a later run
        of the same instance does not start the clock again.

        Raises:
            Abort: somebody cancelled.
        """
        return (yield from self.wait_until(name, self.turn_time() + timedelta(seconds=timeout)))

    def deadline(self, name: str, timeout: float) -> Yields[datetime]:
        """The moment `timeout` seconds after the first run asked for it, the same in every run."""
        due = self.turn_time() + timedelta(seconds=timeout)
        name = f"deadline:{name}"
        wait = Wait(instance=self._id, name=name, token=name, due=due, ahead=True)
        taken = yield from self._take(wait)
        return taken.due or due

    def wait_until(self, name: str, due: datetime) -> Yields[Event | None]:
        """Waits for a kept event until `due`, or until what an earlier run of this wait fixed.

        Raises:
            Abort: somebody cancelled.
        """
        yield from self._stop_if_cancelled()
        self._waits[name] += 1
        token = f"{name}/{self._waits[name]}"
        taken = yield from self._take(Wait(instance=self._id, name=name, token=token, due=due))
        if taken.event or taken.expired:
            return taken.event
        timer = self._ctx.create_timer(taken.due or due)
        while True:
            doorbell, cancel = self._doorbell(name), self._doorbell("cancel")
            yield when_any([doorbell, cancel, timer])
            yield from self._stop_if_cancelled()
            raised = self._answer_door(name)
            if raised is None and not timer.is_complete:
                continue
            taken = yield from self._take(
                Wait(
                    instance=self._id,
                    name=name,
                    token=token,
                    final=timer.is_complete,
                    raised=raised,
                    at=self.turn_time(),
                )
            )
            if taken.event or taken.expired:
                return taken.event

    def poll(self, activity: str, name: str, interval: float, silence: float) -> Yields[Answer]:
        """Asks every `interval` seconds what became of a submitted effect, until it is settled.

        Work that is still under way is `exhausted` once nothing was heard of it for `silence`
        seconds; as long as its heart beats it may take its time.

        Raises:
            Abort: somebody cancelled.
        """
        while True:
            timer = self._ctx.create_timer(timedelta(seconds=interval))
            while not timer.is_complete:
                yield when_any([timer, self._doorbell("cancel")])
                yield from self._stop_if_cancelled()
            answer = yield from self._effect(activity, name, {})
            if answer.result not in ("pending", "exhausted"):
                return answer
            # A provider that cannot be asked says nothing of the work.
            if answer.silent_for is not None and answer.silent_for > silence:
                return Answer(result="exhausted", reason=f"silent for {answer.silent_for:.0f} s")

    def end(self, outcome: str, reason: str | None = None) -> Yields[str]:
        """Keeps the outcome in the record, where it outlives the engine's instance."""
        yield self._store("record.end", Ending(instance=self._id, outcome=outcome, reason=reason))
        return outcome

    def _effect(
        self, activity: str, name: str, body: dict[str, Any], undoes: str | None = None
    ) -> Yields[Answer]:
        key = f"{self._id}/{name}"
        call = Call(instance=self._id, key=key, body=body, undoes=undoes)
        try:
            raw = yield self._ctx.call_activity(
                activity, input=call.model_dump(mode="json"), retry_policy=_policy(self._retry, key)
            )
        except TaskFailedError as failure:
            return Answer(result="exhausted", reason=failure.details.message)
        return Answer.model_validate(raw)

    def _ask(self, name: str, answer: Answer, *, cancellable: bool = False) -> Yields[str]:
        incident = yield from self._open(name, "step_failed", answer)
        return (yield from self._resolution(incident, cancellable=cancellable))

    def _open(self, name: str, kind: IncidentKind, answer: Answer) -> Yields[Incident]:
        key = f"{self._id}/{name}"
        self._incidents[key] += 1
        kinds: dict[Result, IncidentKind] = {"parked": "poison", "too_late": "too_late"}
        incident = Incident(
            instance=self._id,
            key=key,
            n=self._incidents[key],
            kind=kinds.get(answer.result, kind),
            reason=f"{answer.result}: {answer.reason or 'no reason given'}"[:500],
        )
        yield self._store("record.open_intervention", incident)
        return incident

    def _resolution(self, incident: Incident, *, cancellable: bool = False) -> Yields[str]:
        while True:
            if cancellable:
                yield from self._stop_if_cancelled()
            resolution = Resolution.model_validate(
                (yield self._store("record.read_resolution", incident))
            )
            if resolution.action:
                return resolution.action
            doorbells = [self._doorbell("intervention")]
            yield when_any([*doorbells, self._doorbell("cancel")] if cancellable else doorbells)
            self._answer_door("intervention")

    def _stop_if_cancelled(self) -> Yields[None]:
        if self._answer_door("cancel") is None:
            return
        taken = yield from self._take(Wait(instance=self._id, name="cancel", token="cancel/1"))
        if taken.event:
            raise Abort("cancelled")

    def _doorbell(self, name: str) -> Any:
        # Kept until it rings: a wait that loses a race stays registered with the engine and would
        # swallow the next event of its name, so the same one serves the next wait.
        if name not in self._doorbells:
            self._doorbells[name] = self._ctx.wait_for_external_event(name)
        return self._doorbells[name]

    def _answer_door(self, name: str) -> Any:
        doorbell = self._doorbell(name)
        if not doorbell.is_complete:
            return None
        del self._doorbells[name]
        # The engine turns every falsy payload into None.
        return doorbell.get_result() or {}

    def _take(self, wait: Wait) -> Yields[Taken]:
        return Taken.model_validate((yield self._store("record.take", wait)))

    def _store(self, activity: str, message: Message | dict[str, str]) -> Any:
        body = message.model_dump(mode="json") if isinstance(message, Message) else message
        return self._ctx.call_activity(
            activity, input=body, retry_policy=_policy(STORE_RETRY, f"{self._id}/{activity}")
        )

    def turn_time(self) -> datetime:
        """The time of this turn, the same in every replay."""
        naive: datetime = self._ctx.current_utc_datetime
        return naive.replace(tzinfo=UTC)


def _policy(rule: RetryRule, key: str) -> RetryPolicy:
    """Exponential backoff with a cap, a ceiling, and jitter that replays: it comes from the key."""
    jitter = 0.75 + int.from_bytes(hashlib.sha256(key.encode()).digest()[:2]) / 0xFFFF / 2
    return RetryPolicy(
        first_retry_interval=timedelta(seconds=rule.first * jitter),
        max_number_of_attempts=rule.attempts,
        backoff_coefficient=2.0,
        max_retry_interval=timedelta(seconds=rule.cap * jitter),
    )
