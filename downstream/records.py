"""What the journal is made of.

A record is the newest version of one thing: writing it again replaces it. One line of the journal
is one transaction, a list of records that become true together.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, TypeAdapter

Result = Literal["applied", "pending", "refused", "closed", "undone", "too_late"]

# Always with microseconds: pydantic leaves them out where they happen to be zero.
Instant = Annotated[
    datetime,
    PlainSerializer(lambda at: at.isoformat(timespec="microseconds"), str, when_used="json"),
]


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Attempt(Record):
    """One request that reached an operation, whatever came of it.

    `result` is what the provider did: an answer's word, or `replayed`, `conflict`, `invalid`,
    `in-progress`, `malformed`, `scripted-<status>`, `hung`, `abandoned`. `answer` is the answer
    that it gave or would have given. `response` is what became of the response: `sent`, `held`,
    `lost`, `never`, `scripted-<status>`. `ordinal` counts the attempts of the key from 1, `rule` is
    the scripted rule that the attempt met.
    """

    record: Literal["attempt"] = "attempt"
    n: int
    operation: str
    key: str | None
    instance: str | None
    ordinal: int | None
    at: Instant
    result: str
    answer: Result | None = None
    response: str = "sent"
    rule: str | None = None


class Effect(Record):
    """One business effect, committed: a thing done, or really undone."""

    record: Literal["effect"] = "effect"
    n: int
    operation: str
    key: str
    instance: str
    at: Instant
    provider_id: str | None
    undoes: str | None = None
    detail: dict[str, Any]


class Setting(BaseModel):
    """What a request does to a register once it is applied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: str


class Part(BaseModel):
    """How much an undo gives back, by the field that says so; all of it, without an amount."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    amount: int | None = None


class StoredRequest(Record):
    """What the provider remembers of a request, under its key.

    A do has an effect standing exactly while its state is `applied`; what was undone in part goes
    on standing. `closed_by` is the key of the undo that closed it, `too_late_after` the event since
    which it can't be undone. After `forgotten_at` the same request is a new one, of the next
    `generation`. An undo says what it `undoes`; where something stood, `target` is the number of
    that request, and `part` how much of it is meant. What has a `heartbeat` shows it while pending,
    and none after `silent_at`.
    """

    record: Literal["request"] = "request"
    n: int
    generation: int
    operation: str
    key: str
    instance: str
    reference: str
    fingerprint: str
    at: Instant
    forgotten_at: Instant
    state: Literal["applied", "pending", "refused", "undone", "closed"]
    status: int = 409
    provider_id: str | None = None
    reason: str | None = None
    closed_by: str | None = None
    too_late_after: str | None = None
    undoes: str | None = None
    target: int | None = None
    part: Part | None = None
    heartbeat: bool = False
    silent_at: Instant | None = None
    sets: Setting | None = None
    detail: dict[str, Any]

    @property
    def issued_id(self) -> str:
        """The provider's own id for it, if it gives it one."""
        return f"{self.operation.split('.')[0]}-{self.n:06}"


class Holding(Record):
    """The value that a register has from `request` on, until the next or until it is `over`.

    `before` is the request whose value it replaced, and which holds again when it is over.
    """

    record: Literal["holding"] = "holding"
    request: int
    operation: str
    name: str
    value: str
    before: int | None
    over: bool = False


class Taking(Record):
    """How much of `name` a request has taken from a counter; `returned` is part of it.

    It is only `held` while the request is pending, and `free` where it came to nothing.
    """

    record: Literal["taking"] = "taking"
    request: int
    counter: str
    name: str
    amount: int
    state: Literal["held", "taken", "free"]
    returned: int = 0


class Limit(Record):
    """How much there is of `name` in all, whatever is declared; without a limit, any amount."""

    record: Literal["limit"] = "limit"
    counter: str
    name: str
    limit: int | None


class Plan(Record):
    """Something that will happen to a request when it is `due`, unless an undo comes first."""

    record: Literal["plan"] = "plan"
    request: int
    type: str
    source: str | None
    due: Instant
    settles: Literal["applied", "refused"] | None = None
    reason: str | None = None
    ends_undo: bool = False
    copies: int = 1
    despite_undo: bool = False
    over: bool = False


class Callback(Record):
    """A webhook to deliver from `due` on; its body never changes, however often it is sent."""

    record: Literal["callback"] = "callback"
    n: int
    event_id: str
    source: str
    body: str
    due: Instant
    copies: int = 1
    outcome: Literal["delivered", "given_up"] | None = None


AnyRecord = Annotated[
    Attempt | Effect | StoredRequest | Holding | Taking | Limit | Plan | Callback,
    Field(discriminator="record"),
]
TRANSACTION: TypeAdapter[list[AnyRecord]] = TypeAdapter(list[AnyRecord])
