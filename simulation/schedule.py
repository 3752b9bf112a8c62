"""What happens in a simulation, and when: a value that can be drawn, shrunk, saved and run again.

Times are virtual seconds since the beginning of the simulation. A disturbance that never meets
what it is for does nothing; `Result.fired` tells how often each of them fired.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
ReplicaNumber = Annotated[int, Field(ge=0, description="which replica, from 0")]

HOUR, DAY = 3_600.0, 86_400.0

# What a replica can be about to do when it dies or stops: the await points that are counted.
Point = Literal[
    "begin",  # before a transaction takes the store's lock
    "statement",  # before a statement
    "commit",  # before a commit: nothing of the transaction is kept
    "committed",  # after a commit, before the application knows
    "request",  # before a call to a provider leaves
    "response",  # after the provider has answered, before the application knows
    "activity",  # an activity was dispatched to this replica
    "completion",  # an activity is over, before the engine knows
    "turn",  # a turn was dispatched to this replica
    "decided",  # a turn is over, before the engine knows
    "call",  # before a call to the engine leaves
    "called",  # after the engine has answered, before the application knows
    "serve",  # a request of a client or a provider arrives
]
Link = Literal["client", "engine", "provider", "webhook"]  # who asks whom; app is the other end


class Value(BaseModel):
    """Base of everything here: frozen, and nothing that we do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Call(Value):
    """A request from outside, made again every few seconds until it is answered.

    What answers 5xx or not at all is tried again, at another replica: that is what ids are for.
    """

    at: Seconds
    path: str
    body: dict[str, Any] | None = None
    method: Literal["GET", "POST", "PUT", "DELETE"] = "POST"
    to: Literal["app", "witness"] = "app"
    subject: str = "r-1"
    roles: tuple[str, ...] = ("requester",)


class People(Value):
    """What people do about open interventions, so many seconds after they were opened."""

    answer: Literal["retry", "settled"] | None = "retry"
    after: Seconds = HOUR
    times: int = Field(default=20, description="answers for one instance; then they give up")


class Crash(Value):
    """kill -9 of a replica: at a time, or at the nth await of a kind from then on."""

    kind: Literal["crash"] = "crash"
    replica: ReplicaNumber = 0
    at: Seconds = 0
    point: Point | None = None
    nth: Count = 1
    down: Seconds = 2.0


class Pause(Value):
    """SIGSTOP of a replica, and SIGCONT after `lasts`: it goes on as if nothing had been."""

    kind: Literal["pause"] = "pause"
    replica: ReplicaNumber = 0
    at: Seconds = 0
    point: Point | None = None
    nth: Count = 1
    lasts: Seconds = 20.0


class Stop(Value):
    """A graceful stop (SIGTERM) of a replica, and a new one after `down`: a rolling deployment."""

    kind: Literal["stop"] = "stop"
    replica: ReplicaNumber = 0
    at: Seconds = 0
    down: Seconds = 1.0


class Message(Value):
    """What becomes of messages on a link: of the nth from `at` on, and of `count` in all.

    A lost request never arrives; after a lost response the other end has done what it was asked;
    a repeated one arrives twice. `seconds` is the delay, or how long silence lasts before a lost
    one is noticed. `path` narrows to requests whose path (or engine call) contains it.
    """

    kind: Literal["message"] = "message"
    link: Link
    fault: Literal["lose_request", "lose_response", "delay", "repeat"]
    at: Seconds = 0
    nth: Count = 1
    count: Count = 1
    seconds: Seconds = 1.0
    path: str = ""


class Misdelivery(Value):
    """The engine's own faults of delivery (facts.md), on its nth work item of a kind from `at` on.

    - `twice`: the item is dispatched twice at the same time
    - `lost`: never dispatched, or, of a timer or an event, never delivered; a later wake-up of
      the instance brings a lost turn back, and nothing else
    - `stale`: a turn is delivered again and its answer taken for the next one's: the instance
      stands still with a completion and nothing scheduled after it
    - `failed`: the history is damaged: the instance ends FAILED with NonDeterminismError
    """

    kind: Literal["misdelivery"] = "misdelivery"
    item: Literal["turn", "activity", "timer", "event"] = "turn"
    fault: Literal["twice", "lost", "stale", "failed"]
    at: Seconds = 0
    nth: Count = 1
    instance: str = Field(default="", description="only of instances whose id contains this")


class Amnesia(Value):
    """What the engine does to one instance at a time, by engine id or the nth that was started.

    - `unreadable`: every call about it is UNKNOWN, but a purge by force and a new start fail too
    - `forgotten`: the engine has never heard of it
    - `again`: it runs again from its input although it has ended
    - `terminated`: it is terminated past the application
    """

    kind: Literal["amnesia"] = "amnesia"
    fault: Literal["unreadable", "forgotten", "again", "terminated"]
    at: Seconds = 0
    instance: str = ""


class Slow(Value):
    """The engine dispatches at most `rate` work items a second for so long; the rest queue."""

    kind: Literal["slow"] = "slow"
    at: Seconds = 0
    lasts: Seconds = 60.0
    rate: float = Field(default=1.0, gt=0)


class Away(Value):
    """The engine is away: calls fail at once, or hang; nothing is dispatched, nothing is lost."""

    kind: Literal["away"] = "away"
    at: Seconds = 0
    lasts: Seconds = 30.0
    manner: Literal["unavailable", "hangs", "unknown"] = "unavailable"


class Wedge(Value):
    """A replica's sidecar is well and has no worker, until it is asked to shut down."""

    kind: Literal["wedge"] = "wedge"
    replica: ReplicaNumber = 0
    at: Seconds = 0


class Script(Value):
    """A rule of the witness (`POST /script`), from `at` on and for so long; 0 is for ever."""

    kind: Literal["script"] = "script"
    at: Seconds = 0
    lasts: Seconds = 0
    rule: dict[str, Any]


class StoreAway(Value):
    """The store refuses every connection and statement for so long; open transactions are lost."""

    kind: Literal["store_away"] = "store_away"
    at: Seconds = 0
    lasts: Seconds = 10.0


class ClockJump(Value):
    """A replica's clock goes so many seconds ahead (or, below zero, back), and stays there."""

    kind: Literal["clock_jump"] = "clock_jump"
    replica: ReplicaNumber = 0
    at: Seconds = 0
    by: float


Disturbance = Annotated[
    Crash
    | Pause
    | Stop
    | Message
    | Misdelivery
    | Amnesia
    | Slow
    | Away
    | Wedge
    | Script
    | StoreAway
    | ClockJump,
    Field(discriminator="kind"),
]


class Schedule(Value):
    """One simulation. `seed` draws latencies and who serves what; the rest is written here.

    `until` bounds it; it ends before when every call is answered, every disturbance over, every
    record ended and nothing has happened for `quiet` seconds. `settings` overrides the
    application's, `capacity` bounds the engine's work items a second (0: unbounded).
    """

    seed: int = 0
    replicas: Annotated[int, Field(ge=1, le=8)] = 2
    calls: tuple[Call, ...] = ()
    people: People = People()
    disturbances: tuple[Disturbance, ...] = ()
    skews: tuple[float, ...] = Field(default=(), description="seconds a replica's clock is ahead")
    until: Seconds = 40 * DAY
    quiet: Seconds = 300.0
    capacity: Seconds = 0
    settings: dict[str, Any] = {}
