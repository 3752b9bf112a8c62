"""What travels between workflows and activities: small, frozen, and validated on both sides.

Ids and amounts travel here, documents do not: every message stays in the engine's history.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# What our own wake-up signals carry: they say that there is something to look at, and no more.
WAKE_UP = {"ring": True}

Direction = Literal["forward", "down"]

Result = Literal[
    "applied",  # done, now or earlier under the same key
    "pending",  # accepted; the provider settles later and calls back
    "refused",  # a business refusal: a value, never retried
    "closed",  # an undo that found nothing to undo; its key is closed for ever
    "undone",  # a do whose key an undo has closed
    "too_late",  # an undo that can no longer be done
    "rejected",  # the provider calls the request itself wrong: retrying cannot help
    "exhausted",  # every attempt failed; the effect may or may not have happened
    "parked",  # the step keeps taking its process down and is no longer dispatched
    "settled",  # a person declared the matter settled by hand
]


class Message(BaseModel):
    """Base of every message. Fields that are not known are left out.

    Histories outlive the code that wrote them, and while replicas are replaced, one reads what a
    newer one wrote. Typos are found by mypy.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class RetryRule(Message):
    """How often and how patiently a fault is retried. Durations are seconds."""

    attempts: int = Field(default=10, ge=1, le=200)
    first: float = Field(
        default=0.5, ge=0.05, le=60, strict=False, description="wait before the second attempt"
    )
    cap: float = Field(
        default=30, ge=0.05, le=3600, strict=False, description="longest wait between attempts"
    )
    undo_for: float | None = Field(
        default=None,
        ge=0,
        strict=False,
        le=7 * 86_400,
        description="how long an undo is retried before a person is asked; 36 hours",
    )


class Call(Message):
    """One effect to be carried out under its key.

    `next_key` is the key of the next try that a person may order, where this one is over then.
    `must` says that there is no way back from here, so that a cancel is too late.
    """

    instance: str
    key: str
    body: dict[str, Any] = {}
    undoes: str | None = None
    next_key: str | None = None
    must: bool = False
    retry: RetryRule | None = Field(default=None, description="what follows a fault")
    look_again: float | None = Field(default=None, description="seconds until a pending one is")


class Inquiry(Message):
    """What a look at a pending effect says: of which operation, and seconds until the next."""

    operation: str
    look_again: float = 60


class Answer(Message):
    """What came of an effect."""

    result: Result
    provider_id: str | None = None
    reason: str | None = None
    silent_for: float | None = Field(default=None, description="seconds since the last heartbeat")
    pending_for: float | None = Field(default=None, description="seconds since it was first tried")

    @property
    def done(self) -> bool:
        """Whether the effect stands, or needs nothing further."""
        return self.result in ("applied", "closed", "settled")

    @property
    def over(self) -> bool:
        """Whether its key has done its service: a person's retry needs the next one."""
        return self.result in ("refused", "rejected") or self.was_pending

    @property
    def was_pending(self) -> bool:
        """Whether it was accepted at first, and had to settle."""
        return self.pending_for is not None


class Settling(Message):
    """How an effect that is pending settles: by an event, or found by asking. Times are seconds.

    `within` is how long it may take, `silence` how long nothing may be heard of its heart.
    """

    event: str | None = None
    done: str = ""
    failed: str = ""
    within: float = 7 * 86_400
    every: float = 60
    silence: float = 7 * 86_400
    ask: str = "provider.look_up"

    def judge(self, asked: Answer) -> Answer:
        """What the answer to a look means: `exhausted` where it has been pending for too long."""
        waited = asked.pending_for or 0.0
        if asked.result not in ("pending", "exhausted"):
            return asked.model_copy(update={"pending_for": waited})
        if asked.silent_for is not None and asked.silent_for > self.silence:
            reason = f"silent for {asked.silent_for:.0f} s"
        elif waited > self.within:
            reason = f"pending for {waited:.0f} s"
        else:
            # A provider that cannot be asked says nothing of the work.
            return asked.model_copy(update={"result": "pending"})
        return Answer(result="exhausted", reason=reason, pending_for=waited)


class Start(Message):
    """A run begins: what the engine calls it, and which code it runs."""

    instance: str
    engine_id: str | None = None
    kind: str | None = None
    version: str | None = None


class RunPermit(Message):
    """What the record says when a run begins. A run that may not proceed has no effects.

    `input` and `version` are the accepted ones; histories that are older than them have neither.
    `tried` are the steps that earlier runs tried, `ordinals` the highest ordinals under which they
    did, and `undone` the undos that had something to say: all that a run cannot know by itself.
    """

    proceed: bool
    input: dict[str, Any] | None = None
    version: str | None = None
    ordinals: dict[str, int] = {}
    tried: list[str] = []
    undone: list[str] = []
    direction: Direction = "forward"
    reason: str | None = None
    refused: bool = False
    outcome: str | None = None


class Event(Message):
    """A kept event: a provider's callback, a person's decision."""

    event_id: str
    type: str
    data: dict[str, Any] = {}


class Pivot(Message):
    """The event behind which there is no way back: its type, and what its data has to say."""

    type: str
    data: dict[str, Any] = {}


class Wait(Message):
    """Asks the inbox for the next event of a name; `token` names this wait in every run.

    Only the `types` that are named end it (none named: all); others are kept and left alone.

    With `due` the wait is opened (its deadline is fixed by whoever opens it first), without it
    this only looks. `final` closes a wait whose timer has fired. With `ahead` nobody waits yet:
    the deadline is only fixed, and the instance goes on at once.
    """

    instance: str
    name: str
    token: str
    types: tuple[str, ...] = ()
    pivot: Pivot | None = None
    due: datetime | None = None
    final: bool = False
    ahead: bool = False
    raised: Any = None
    at: datetime | None = Field(default=None, description="when it was raised, in workflow time")


class WaitResult(Message):
    """The inbox's answer: an event, or until when to wait for one, or that it is too late."""

    event: Event | None = None
    due: datetime | None = None
    expired: bool = False


class Hold(Message):
    """A step waits until the reconciliation loop finds that it is worth another try."""

    instance: str
    step: str


class DirectionChange(Message):
    """A change of direction, recorded before the first effect that it leads to."""

    instance: str
    direction: Direction
    reason: str
    refused: bool = False


IncidentKind = Literal[
    "undo_failed",
    "too_late",
    "step_failed",
    "poison",  # the step takes its process down
    "contradiction",  # an event that cannot be true together with the outcome
    "stuck",  # the engine gets nowhere with it, however often it is run again
    "bad_deployment",  # many instances fail alike
    "engine_stalled",  # many instances stand still alike
    "start_failed",  # the engine takes it from nobody
    "terminated",  # effects were left standing
    "unaccounted",  # money was taken, and nobody knows for what
    "lost",  # something runs of which there is no record
    "forged",  # came past the API: a start that nobody accepted, an event without a signature
]


class Incident(Message):
    """Something that only a person can settle; its id is `<key>/<n>`."""

    instance: str
    key: str
    n: int
    kind: IncidentKind
    reason: str
    blocking: bool = True
    raised: Any = Field(default=None, description="what the signal carried that asks for it")

    @property
    def id(self) -> str:
        """The intervention's id, the same for every run."""
        return f"{self.key}/{self.n}"


class Resolution(Message):
    """A person's answer to an intervention; `None` while there is none."""

    action: Literal["retry", "settled"] | None = None


class Ending(Message):
    """The outcome of an instance, kept in its record before the engine forgets the instance."""

    instance: str
    outcome: str
    reason: str | None = None
    detail: dict[str, Any] | None = None
