"""Scripted misbehaviour: which request meets which fault, and whether it really did.

Rules live in memory only: a restart of the witness behaves well again.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from downstream.config import Declared, Pending, Providers, Reason, Seconds, Text
from downstream.requests import Ask, Inquiry

Stage = Literal["before", "after"]
ErrorStatus = Annotated[int, Field(ge=400, le=599)]


# What a rule does besides, and never alone.
MODIFIERS = {"on_disconnect", "locks", "retry_after"}


class CallbackChange(Declared):
    """What becomes of one callback of a do.

    `after` replaces the declared delay, in seconds. `copies` sends the same event so many times,
    0 lets it happen unheard. With `never` it does not happen, nor does anything that follows it.
    With `despite_undo` it happens although an undo has closed the key: a settlement then commits
    the effect after all.
    """

    after: Seconds | None = None
    copies: Annotated[int, Field(ge=0, le=10)] = 1
    never: bool = False
    despite_undo: bool = False


class Then(Declared):
    """What a request meets, in the order of the fields; durations are seconds.

    A `delay` goes on when the client has left. A held request whose client leaves is dropped,
    unless `on_disconnect` lets it `proceed` once it is released: a message still in the network.
    One that `locks` is being worked on meanwhile: its key answers 409 `in-progress` to the others.
    `status` and `hang` end the request before anything is done, `drop`, `commit_then_status` and
    `commit_then_hang` after it was committed. A look-up or a listing can meet `delay`, `status`
    and `hang` only.
    """

    delay: Seconds = 0
    hold: Literal["before", "after", "both"] | None = None
    on_disconnect: Literal["drop", "proceed"] = "drop"
    locks: bool = False
    status: ErrorStatus | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None
    hang: bool = False
    refuse: Reason | None = None
    pending: Pending | None = None
    too_late: bool = False
    callbacks: dict[str, CallbackChange] = Field(default_factory=dict)
    key_ttl: Seconds | None = None
    drop: bool = False
    commit_then_status: ErrorStatus | None = None
    commit_then_hang: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        undone = [self.status is not None, self.hang]
        lost = [self.drop, self.commit_then_status is not None, self.commit_then_hang]
        outcomes = [self.refuse is not None, self.pending is not None, self.too_late]
        if not self.model_dump(exclude_defaults=True, exclude=MODIFIERS):
            raise ValueError("no behaviour is given")
        if sum(undone + lost) > 1:
            raise ValueError("a request ends in one way: more than one is given")
        if sum(outcomes) > 1:
            raise ValueError("at most one of refuse, pending and too_late makes sense")
        if any(undone) and (self.shapes or self.hold in ("after", "both")):
            raise ValueError("with status or hang nothing is done that could be shaped or held")
        if self.retry_after is not None and self.status is None and self.commit_then_status is None:
            raise ValueError("retry_after needs a status or commit_then_status")
        if self.on_disconnect == "proceed" and self.hold not in ("before", "both"):
            raise ValueError("on_disconnect is about a request that is held before its effect")
        if self.locks and not (self.delay or self.hold or self.hang):
            raise ValueError("locks is about a request that takes its time")
        return self

    @property
    def shapes(self) -> bool:
        """Whether it changes what the provider decides."""
        decided = (self.refuse, self.pending, self.callbacks or None, self.key_ttl)
        return self.too_late or any(each is not None for each in decided)

    @property
    def only_shapes(self) -> bool:
        """Whether it does nothing else, so that it can come to nothing."""
        faults = (self.delay, self.hold, self.drop, self.commit_then_status, self.commit_then_hang)
        return self.shapes and not any(faults)

    def holds(self, stage: Stage) -> bool:
        """Whether a request is held at the stage."""
        return self.hold in (stage, "both")


class Match(Declared):
    """Which requests a rule is for; what is left out matches everything."""

    operation: Text | None = None
    instance: Text | None = None
    key: Text | None = None

    def covers(self, ask: Ask | Inquiry) -> bool:
        """Whether the request is meant."""
        return self._agrees(ask.operation, ask.instance, ask.key)

    def includes(self, other: "Match") -> bool:
        """Whether whatever the other is for is meant."""
        return self._agrees(other.operation, other.instance, other.key)

    def _agrees(self, operation: str | None, instance: str | None, key: str | None) -> bool:
        pairs = ((self.operation, operation), (self.instance, instance), (self.key, key))
        return all(wanted is None or wanted == given for wanted, given in pairs)


class RuleMatch(Match):
    """The same, and whether requests or inquiries are meant.

    An inquiry has the instance and the key of what it looks up; a listing has none, nor has a
    look-up of what is not known yet.
    """

    method: Literal["GET", "POST"] = "POST"

    def covers(self, ask: Ask | Inquiry) -> bool:
        """Whether the request or inquiry is meant."""
        return ask.method == self.method and super().covers(ask)


class NewRule(Declared):
    """A rule as it is posted.

    `times` bounds its firings, `attempts` restricts it to the nth attempts of each key.
    """

    match: RuleMatch = RuleMatch()
    times: Annotated[int, Field(ge=1)] | None = None
    attempts: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None = None
    then: Then

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.match.method == "GET":
            given = self.then.model_dump(exclude_defaults=True).keys()
            if wrong := sorted(given - {"delay", "status", "retry_after", "hang"}):
                raise ValueError(f"an inquiry cannot meet {', '.join(wrong)}")
            if self.attempts:
                raise ValueError("only requests are attempts: bound an inquiry's rule with times")
        return self

    def complaint(self, providers: Providers) -> str | None:
        """Why it could never fire as written, if so."""
        known = dict(providers.operations)
        if self.match.operation is not None:
            declared = providers.find(self.match.operation)
            if declared is None:
                return f"{self.match.operation} is not a declared operation"
            target = providers.undone_by(self.match.operation)
            if self.then.too_late and target is None:
                return f"{self.match.operation} is not an undo: only an undo can be too late"
            known = {self.match.operation: declared}
        types = {each for operation in known.values() for each in operation.callback_types}
        unknown = sorted(self.then.callbacks.keys() - types)
        return f"no such callback: {', '.join(unknown)}" if unknown else None


@dataclass
class ScriptedRule:
    """A posted rule and how often it fired: met a request and changed what came of it.

    `number` counts the rules ever posted. `then` is what it does now, `None` nothing any more.
    """

    number: int
    spec: NewRule
    fired: int = 0
    then: Then | None = field(init=False)

    def __post_init__(self) -> None:
        self.then = self.spec.then

    @property
    def id(self) -> str:
        """What it is called."""
        return f"rule-{self.number}"

    def stop_holding(self) -> None:
        """Ends its holding; what else it does stays."""
        if self.then and self.then.hold:
            gone = {"hold", "on_disconnect"} if self.then.delay else {"hold", *MODIFIERS}
            rest = self.then.model_dump(exclude=gone, exclude_defaults=True)
            self.then = Then(**rest) if rest else None

    def view(self) -> dict[str, Any]:
        """The rule as `GET /script` shows it."""
        spec = self.spec.model_dump(mode="json", exclude_defaults=True)
        then = self.then.model_dump(mode="json", exclude_defaults=True) if self.then else {}
        return {"id": self.id, "match": {}, **spec, "then": then, "fired": self.fired}


class Script:
    """The rules, oldest first.

    A rule for one instance is looked for by that instance, so that there may be thousands.
    """

    def __init__(self) -> None:
        self._rules: dict[str, ScriptedRule] = {}
        self._by_instance: dict[str | None, dict[str, ScriptedRule]] = {}
        self._count = 0

    def __iter__(self) -> Iterator[ScriptedRule]:
        return iter(self._rules.values())

    def add(self, spec: NewRule) -> ScriptedRule:
        """Puts a rule behind the others."""
        self._count += 1
        rule = ScriptedRule(self._count, spec)
        self._rules[rule.id] = rule
        self._by_instance.setdefault(spec.match.instance, {})[rule.id] = rule
        return rule

    def clear(self) -> None:
        """Removes every rule."""
        self._rules.clear()
        self._by_instance.clear()

    def remove(self, id_: str) -> bool:
        """Removes one rule; `False` when there is none of this id."""
        rule = self._rules.pop(id_, None)
        if rule is None:
            return False
        del self._by_instance[rule.spec.match.instance][id_]
        return True

    def stop_holding(self, match: Match) -> None:
        """Ends the holding of every rule that the match includes."""
        for rule in self:
            if match.includes(rule.spec.match):
                rule.stop_holding()

    def take(self, ask: Ask | Inquiry, ordinal: int | None = None) -> ScriptedRule | None:
        """The first rule that fits the `ordinal`th attempt of a key, or an inquiry.

        It counts as fired.
        """
        candidates = heapq.merge(
            *(self._by_instance.get(each, {}).values() for each in {ask.instance, None}),
            key=lambda rule: rule.number,
        )
        for rule in candidates:
            spec = rule.spec
            if (
                spec.match.covers(ask)
                and rule.then is not None
                and (spec.times is None or rule.fired < spec.times)
                and (spec.attempts is None or ordinal in spec.attempts)
            ):
                rule.fired += 1
                return rule
        return None
