"""What the provider offers: operations with their undos, refusals and events, declared in TOML."""

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from downstream.paths import FieldType, Scalar, check_path, matches

# Ten years: longer than any wait that makes sense, and far from what a date cannot hold.
Seconds = Annotated[float, Field(ge=0, le=315_360_000, allow_inf_nan=False)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=200)]
# With a length it is also checked for halves of surrogate pairs, which no client can send on.
Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=100)]
OperationName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]

# The type of a settlement without a callback: it is polled.
SETTLED = "settled"

# Paths of the witness's own interface, which a service of the same name would hide.
RESERVED = {
    "callbacks",
    "counters",
    "docs",
    "due",
    "health",
    "held",
    "ledger",
    "livez",
    "registers",
    "release",
    "script",
}


class ConfigError(ValueError):
    """The declarations cannot be used; the message says where and why."""


class Declared(BaseModel):
    """Base of everything declared or scripted; unknown words are refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(Declared):
    """Something that happens to an applied effect, and the callback that tells of it.

    `after` counts in seconds from the event before it in the list, the first one's from the
    moment the effect was applied. Once an event with `ends_undo` has happened, the undo answers
    `too_late`. Without a `source` there is no callback.
    """

    source: Word | None = None
    type: Word
    after: Seconds = 0
    ends_undo: bool = False


class Pending(Declared):
    """An answer 202, settled `after` seconds later; never, without `settle`.

    `reason` is that of a refusal. With `heartbeat` the answer shows, until then, when the work was
    last alive: just now, or, with `silent_after`, so many seconds after the request at the latest.
    """

    settle: Literal["applied", "refused"] | None = None
    after: Seconds = 0
    reason: Reason = "declined"
    heartbeat: bool = False
    silent_after: Seconds | None = None

    @property
    def beats(self) -> bool:
        """Whether there is a heartbeat; one that falls silent needs no other word."""
        return self.heartbeat or self.silent_after is not None


class Settlement(Declared):
    """The callback types that tell how a pending request was settled."""

    source: Word
    applied: Word
    refused: Word


class Register(Declared):
    """A named value that an operation sets and its undo gives back, compare-and-set.

    `name` and `value` are the fields of the body that hold them.
    """

    name: str
    value: str


class Counter(Declared):
    """Something that is counted: pieces in stock, a person's minutes, a customer's money.

    `limits` is how much there is in all, by name; of what is not named there, any amount. A request
    for more than is left is refused, with the reason in `refuse`.
    """

    limits: dict[Text, Annotated[int, Field(ge=0)]] = {}
    refuse: Reason = "none_left"


class Take(Declared):
    """What an operation takes from a counter, and its undo gives back.

    `name` and `amount` are paths in the body; both go through the same list, if through any.
    Without an `amount` it is one.
    """

    counter: Word
    name: str
    amount: str | None = None


class Rule(Declared):
    """What happens to requests whose body meets every condition in `when`."""

    when: dict[str, Scalar] = {}
    refuse: Reason | None = None
    status: Annotated[int, Field(ge=400, le=499)] = 409
    pending: Pending | None = None
    events: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for path in self.when:
            check_path(path)
        if self.refuse is not None and (self.pending or self.events):
            raise ValueError("a refused request is neither pending nor followed by events")
        return self


class Operation(Declared):
    """One operation. `undo` names the operation that takes it back; naming it declares it.

    An operation may be its own undo: a request is one when its body says what it `undoes`. Then
    everything declared is about the do, and an undo is simply done.

    `key_ttl` is how many seconds a key is remembered; `fields` are required, by path; the first
    of `rules` whose conditions hold applies, and without one the request is simply done.
    """

    undo: OperationName | None = None
    key_ttl: Seconds = 86_400
    fields: dict[str, FieldType] = {}
    # Under its own name it would hide a method of the class.
    sets: Register | None = Field(default=None, alias="register")
    takes: tuple[Take, ...] = ()
    settlement: Settlement | None = None
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for path in self.fields:
            check_path(path)
        for take in self.takes:
            self._check_take(take)
        needed = (self.sets.name, self.sets.value) if self.sets else ()
        for name in needed:
            if not name.isidentifier() or self.fields.get(name) != "string":
                raise ValueError(f"{name} is in a register, and so it must be a field, a string")
        names = self.settlement
        settled = [names.applied, names.refused] if names else [SETTLED]
        for rule in self.rules:
            types = [*settled, *(event.type for event in rule.events)]
            if len(set(types)) < len(types):
                raise ValueError(f"an event type occurs twice: {', '.join(types)}")
        return self

    def _check_take(self, take: Take) -> None:
        if self.fields.get(take.name) != "string":
            raise ValueError(f"{take.name} is counted, and so it must be a field, a string")
        if take.amount is None:
            return
        if self.fields.get(take.amount) != "positive":
            raise ValueError(f"{take.amount} is an amount, and so it must be a field, positive")
        if take.amount.rpartition("[]")[0] != take.name.rpartition("[]")[0]:
            raise ValueError(f"{take.name} and {take.amount} are not in one list")

    @property
    def part_field(self) -> str | None:
        """The field with which an undo may say how much it gives back; `None`: all or nothing."""
        names = {take.amount for take in self.takes}
        name = names.pop() if len(names) == 1 else None
        return name if name and name.isidentifier() else None

    def rule_for(self, body: dict[str, Any]) -> Rule:
        """The first rule that the body meets, or one that just applies."""
        return next((rule for rule in self.rules if matches(body, rule.when)), Rule())

    @property
    def callback_types(self) -> set[str]:
        """Every type of event that a request can lead to."""
        settled = (
            {self.settlement.applied, self.settlement.refused} if self.settlement else {SETTLED}
        )
        return settled | {event.type for rule in self.rules for event in rule.events}


class Providers(Declared):
    """All declared operations by name, for example `payment.charge`."""

    operations: dict[OperationName, Operation]
    counters: dict[Word, Counter] = {}

    @model_validator(mode="after")
    def _linked(self) -> Self:
        for each in self.operations.values():
            for take in each.takes:
                if take.counter not in self.counters:
                    raise ValueError(f"there is no counter {take.counter}")
        undos = [each.undo for each in self.operations.values() if each.undo]
        if len(set(undos)) < len(undos):
            raise ValueError("an operation is named as the undo of two others")
        for name in undos:
            undo = self.operations.get(name, Operation())
            if undo.undo == name:
                continue
            later = any(rule.events for rule in undo.rules)
            if undo.undo or undo.sets or undo.takes or later:
                raise ValueError(
                    f"{name} is an undo: it has no undo, register, counter or events itself"
                )
        for name in (*self.operations, *undos):
            if name.split(".")[0] in RESERVED:
                raise ValueError(f"{name}: the witness answers under this service name itself")
        return self

    @cached_property
    def _targets(self) -> dict[str, str]:
        return {each.undo: name for name, each in self.operations.items() if each.undo}

    def find(self, name: str) -> Operation | None:
        """The declaration of an operation; `None` when there is none."""
        return self.operations.get(name) or (Operation() if name in self._targets else None)

    def undone_by(self, name: str) -> str | None:
        """The operation that `name` undoes, perhaps itself; `None` when it is not an undo."""
        return self._targets.get(name)

    def is_undo(self, name: str, body: dict[str, Any]) -> bool:
        """Whether a request to the operation is an undo."""
        target = self.undone_by(name)
        return target is not None and (target != name or "undoes" in body)


def load(path: Path) -> Providers:
    """Reads the declarations.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or declares something wrong.
    """
    try:
        return Providers.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join([f"{path}:", *lines])) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
