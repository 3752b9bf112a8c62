"""One run, as the engine sees it: activities, the application's store, signals, and the time."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from dapr.ext.workflow import DaprWorkflowContext, RetryPolicy, TaskFailedError, when_any

from workflows.messages import Answer, Call, Message, RetryRule

T = TypeVar("T")
Yields = Generator[Any, Any, T]

STORE_RETRY = RetryRule(attempts=20, first=0.2, cap=15)
# The store belongs to the application: its outages end, and nothing sensible can be done before.
# They are no fault of a step, and use up none of its patience.
STORE_AWAY = "StoreAway"  # the type of error that says so
STORE_CAP = 900.0  # seconds; the longest pause between two tries of a store that is away
UNDO_FOR = 36 * 3600.0  # seconds; how long an undo is retried before a person is asked
UNDO_CAP = 1800.0  # seconds; the longest pause between two tries of a patient undo


class Run:
    """Everything it remembers is rebuilt by the engine's replay."""

    def __init__(self, ctx: DaprWorkflowContext) -> None:
        self._ctx = ctx
        # Our id: what the engine calls a run may end in `~<n>`, never what a caller chose.
        self.id: str = ctx.instance_id.partition("~")[0]
        self._retry = RetryRule()
        self._signals: dict[str, Any] = {}

    def turn_time(self) -> datetime:
        """The time of this turn, the same in every replay."""
        naive: datetime = self._ctx.current_utc_datetime
        return naive.replace(tzinfo=UTC)

    def _key(self, name: str) -> str:
        return f"{self.id}/{name}"

    def _call(self, activity: str, call: Call, rule: RetryRule) -> Yields[Answer]:
        """Carries out an effect; `exhausted` when every attempt has failed."""
        message = call.model_copy(update={"retry": rule}).model_dump(
            mode="json", exclude_defaults=True
        )
        try:
            raw = yield from self._while_away(activity, message, rule, call.key)
        except TaskFailedError as failure:
            return Answer(result="exhausted", reason=failure.details.message[:500])
        return Answer.model_validate(raw)

    def _store(self, activity: str, message: Message) -> Yields[Any]:
        body = message.model_dump(mode="json")
        key = self._key(activity)
        return (yield from self._while_away(activity, body, STORE_RETRY, key))

    def _while_away(self, activity: str, body: Any, rule: RetryRule, key: str) -> Yields[Any]:
        """Calls an activity under a rule, which begins anew once the store is back.

        Raises:
            TaskFailedError: every attempt has failed, and the store was there for each of them.
        """
        away = 0
        while True:
            # Now and then a single try, so that a weekend makes no long history.
            policy = _policy(rule.model_copy(update={"attempts": 1}) if away else rule, key)
            try:
                return (yield self._ctx.call_activity(activity, input=body, retry_policy=policy))
            except TaskFailedError as failure:
                if failure.details.error_type == STORE_AWAY:
                    away += 1
                    yield from self._until_woken(min(STORE_CAP, _jitter(key) * 2 ** min(away, 10)))
                elif away:
                    away = 0
                else:
                    raise

    def _until_woken(self, seconds: float) -> Yields[None]:
        # Whoever takes it for stuck finds a store: then there is no need to wait.
        timer = self._ctx.create_timer(timedelta(seconds=seconds))
        yield when_any([timer, self._signal("wake")])
        self._take_signal("wake")

    def _signal(self, name: str) -> Any:
        # Kept until it rings: a wait that loses a race stays registered with the engine and would
        # swallow the next event of its name, so the same one serves the next wait.
        if name not in self._signals:
            self._signals[name] = self._ctx.wait_for_external_event(name)
        return self._signals[name]

    def _take_signal(self, name: str) -> Any:
        signal = self._signal(name)
        if not signal.is_complete:
            return None
        del self._signals[name]
        # The engine turns every falsy payload into None.
        return signal.get_result() or {}


def patient(rule: RetryRule) -> RetryRule:
    """The rule of an undo: it has patience of its own, and does not share its caller's."""
    lasts = UNDO_FOR if rule.undo_for is None else rule.undo_for
    cap = min(UNDO_CAP, max(rule.first, lasts / 8))
    attempts, pause, waited = 1, rule.first, 0.0
    while waited < lasts:
        waited, pause, attempts = waited + pause, min(2 * pause, cap), attempts + 1
    return RetryRule(attempts=min(attempts, 200), first=rule.first, cap=cap)


def _policy(rule: RetryRule, key: str) -> RetryPolicy:
    """Exponential backoff with a cap, a ceiling, and jitter; a store that is away ends it."""
    jitter = _jitter(key)
    policy = RetryPolicy(
        first_retry_interval=timedelta(seconds=rule.first * jitter),
        max_number_of_attempts=rule.attempts,
        backoff_coefficient=2.0,
        max_retry_interval=timedelta(seconds=rule.cap * jitter),
    )
    # The engine's own policy knows it, and Dapr's, which wraps it, has no parameter for it.
    policy.obj._non_retryable_error_types = {STORE_AWAY}
    return policy


def _jitter(key: str) -> float:
    """A factor around 1 that replays: it comes from the key."""
    return 0.75 + int.from_bytes(hashlib.sha256(key.encode()).digest()[:2]) / 0xFFFF / 2
