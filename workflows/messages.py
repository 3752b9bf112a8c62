"""What travels between workflows and activities: small, frozen, and validated on both sides.

Ids and amounts travel here, documents do not: every message stays in the engine's history.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    """Base of every message; unknown fields are refused so that a typo cannot pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RetryRule(Message):
    """How often and how patiently a fault is retried. Durations are seconds."""

    attempts: int = Field(default=10, ge=1, le=20)
    first: float = Field(default=0.5, ge=0.05, le=60, description="wait before the second attempt")
    cap: float = Field(default=30, ge=0.05, le=3600, description="longest wait between attempts")


class Call(Message):
    """One effect to be carried out under its key."""

    instance: str
    key: str
    body: dict[str, Any] = {}
    undoes: str | None = None


class Answer(Message):
    """What came of an effect."""

    result: Result
    provider_id: str | None = None
    reason: str | None = None
    silent_for: float | None = Field(default=None, description="seconds since the last heartbeat")

    @property
    def done(self) -> bool:
        """Whether the effect stands, or needs nothing further."""
        return self.result in ("applied", "closed", "settled")


class Beginning(Message):
    """What the record says when a run begins. A run that may not proceed has no effects."""

    proceed: bool
    direction: Direction = "forward"
    reason: str | None = None
    refused: bool = False
    outcome: str | None = None


class Event(Message):
    """A kept event: a provider's callback, a person's decision."""

    event_id: str
    type: str
    data: dict[str, Any] = {}


class Wait(Message):
    """Asks the inbox for the next event of a name; `token` names this wait in every run.

    With `due` the wait is opened (its deadline is fixed by whoever opens it first), without it
    this only looks. `final` closes a wait whose timer has fired. With `ahead` nobody waits yet:
    the deadline is only fixed, and the instance goes on at once.
    """

    instance: str
    name: str
    token: str
    due: datetime | None = None
    final: bool = False
    ahead: bool = False
    raised: Any = None
    at: datetime | None = Field(default=None, description="when it was raised, in workflow time")


class Taken(Message):
    """The inbox's answer: an event, or until when to wait for one, or that it is too late."""

    event: Event | None = None
    due: datetime | None = None
    expired: bool = False


class Hold(Message):
    """A step waits until the reconciliation loop finds that it is worth another try."""

    instance: str
    step: str


class Turn(Message):
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
    "forged",  # a decision that came past the API without a good signature
]


class Incident(Message):
    """Something that only a person can settle; its id is `<key>/<n>`."""

    instance: str
    key: str
    n: int
    kind: IncidentKind
    reason: str
    blocking: bool = True

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
