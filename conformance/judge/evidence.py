"""What was seen of one instance, all of it from outside: ledger, answers, gate, status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.plan.contract import WorkflowPath
from conformance.plan.patterns import matches


@dataclass(frozen=True)
class Answer:
    """An answered request. `what` is start, start again, or signal n; `claims` as declared."""

    at: float
    what: str
    status: int
    claims: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether it was a 2xx."""
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Evidence:
    """One instance at the end of its scenario.

    `status` is the last thing that the application said of it, `None` if it never answered, and
    `missing` whether it said that there is no such instance. `engine` is how the engine's own
    instance ended, as far as the gate saw; `turns` how many it completed. `before_repeat` are the
    effects before the start was sent again, `undoes` maps undo operations to what they undo,
    `sibling_outcomes` are the endings of all paths of the same workflow.
    """

    instance: str
    path: WorkflowPath
    attempts: list[dict[str, Any]]
    effects: list[dict[str, Any]]
    answers: list[Answer]
    status: dict[str, Any] | None
    missing: bool
    ended: bool
    outcome: str | None
    engine: str | None
    turns: int
    idle: bool
    seconds: float
    deadline: float
    fault: str
    point: str
    before_repeat: list[dict[str, Any]] | None = None
    undoes: Mapping[str, str] = field(default_factory=dict)
    sibling_outcomes: frozenset[str] = frozenset()

    def is_undo(self, effect: Mapping[str, Any]) -> bool:
        """Whether an effect takes another one back."""
        return effect.get("undoes") is not None

    def is_alert(self, effect: Mapping[str, Any]) -> bool:
        """Whether an effect is one of the path's alerts."""
        return any(matches(pattern, effect) for pattern in self.path.alerts)
