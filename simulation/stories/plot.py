"""One instance as it is drawn: what is sent to it, how its providers behave, and how it may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from simulation.schedule import Call, Script

WITNESS = "http://witness"
OPERATOR: dict[str, Any] = {"subject": "op-1", "roles": ("operator",)}
APPROVER: dict[str, Any] = {"subject": "a-1", "roles": ("approver",)}
SECOND: dict[str, Any] = {"subject": "a-2", "roles": ("approver",)}
DIRECTOR: dict[str, Any] = {"subject": "d-1", "roles": ("director",)}


@dataclass
class Plot:
    """One instance as it is drawn. Times are seconds; `begins` is when it is started."""

    id: str
    begins: float
    rng: Random
    calls: list[Call] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    # When something of it happens, so that disturbances can fire then.
    moments: list[float] = field(default_factory=list)

    def start(self, path: str, body: dict[str, Any], **who: Any) -> None:
        """The start, sent when the story begins."""
        self.call(0, path, {"id": self.id, **body}, **who)

    def call(
        self, after: float, path: str, body: dict[str, Any] | None = None, **more: Any
    ) -> None:
        """A client's request, `after` seconds of the story."""
        at = round(self.begins + after, 3)
        self.calls.append(Call(at=at, path=path, body=body, **more))
        self.moments.append(at)

    def script(self, operation: str, then: dict[str, Any], **more: Any) -> None:
        """How a provider behaves towards this instance alone."""
        rule = {"match": {"operation": operation, "instance": self.id}, "then": then, **more}
        self.scripts.append(Script(rule=rule, at=max(0.0, self.begins - 1)))

    def later(self, operation: str, **events: float) -> None:
        """Events of a provider come so many seconds after what goes before them; below 0 never."""
        changes = {
            name.replace("__", "."): {"never": True} if after < 0 else {"after": round(after, 3)}
            for name, after in events.items()
        }
        self.script(operation, {"callbacks": changes})
        at = self.begins
        for after in events.values():
            at += max(after, 0)
            self.moments.append(at)

    def between(self, least: float, most: float) -> float:
        """A duration."""
        return round(self.rng.uniform(least, most), 3)

    def cancel(self, after: float) -> None:
        """An operator cancels."""
        self.call(after, f"/workflows/{self.id}/cancel", **OPERATOR)

    def query(self, after: float) -> None:
        """An operator queries it, which keeps the simulation going until then."""
        self.call(after, f"/workflows/{self.id}", method="GET", **OPERATOR)


@dataclass(frozen=True)
class Story:
    """A way that an instance may go, and the outcomes that are right.

    `faulty` are outcomes that are right too where a provider was away for longer than a step is
    patient. `weight` is how often it is drawn; what takes thousands of turns is drawn seldom.
    `asks`: a person has to be asked; `late_money`: the provider does what it was asked not to do.
    """

    kind: str
    outcomes: frozenset[str]
    tell: Callable[[Plot], None]
    faulty: frozenset[str] = frozenset()
    weight: float = 1.0
    asks: bool = False
    late_money: bool = False
