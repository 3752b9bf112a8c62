"""What came of a simulation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answered:
    """The last answer to a call; `status` 0 means that there was none until the end."""

    status: int
    body: Any
    at: float
    tries: int

    @property
    def final(self) -> bool:
        """Whether the call is not repeated any more."""
        return 0 < self.status < 500 and self.status not in (408, 429)


@dataclass
class Result:
    """The world after a schedule.

    `effects` and `attempts` are the witness's ledger; `records` what `GET /workflows/ID` shows;
    `interventions` what `GET /interventions` shows; `answers` belong to the schedule's calls and
    `fired` to its disturbances, by position; `calls` are the activities of each engine instance
    with their keys, in the order in which its turns asked for them. `counts` has what the engine
    did, and how often each await point was reached. `settled`: every record has ended. `lasted` is
    virtual seconds; `errors` are unhandled exceptions.
    """

    effects: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    interventions: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    fired: list[int] = field(default_factory=list)
    calls: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    settled: bool = False
    lasted: float = 0.0
