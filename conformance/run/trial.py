"""One instance that is led along its path, and what became of it so far."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from conformance.clients import InstanceView
from conformance.judge.evidence import Answer
from conformance.plan.contract import WorkflowPath


@dataclass(frozen=True)
class GateNews:
    """The gate's latest news of an instance.

    `heard` is when it came, `rested` when the instance was last idle or held (monotonic seconds).
    """

    view: InstanceView = field(default_factory=InstanceView)
    heard: float = field(default_factory=time.monotonic)
    rested: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Status:
    """What the application last said of an instance.

    `document` is `None` if it never answered; `missing` says that it knows of no such instance.
    `outcome` and `ended_at` (monotonic seconds) mean something once it has `ended`.
    """

    document: dict[str, Any] | None = None
    missing: bool = False
    ended: bool = False
    ended_at: float = 0.0
    outcome: str | None = None


@dataclass(frozen=True)
class Signalled:
    """When an instance was last signalled (monotonic seconds), and after how many turns."""

    at: float = 0.0
    turns: int = -1


@dataclass(eq=False)
class Trial:
    """One instance on its path.

    `repeat` names what its client sends twice, `client:start` or `client:signal-N`; `sent_twice`
    says that it did. `failure` is what went wrong last between the client and the application.
    """

    id: str
    path: WorkflowPath
    repeat: str | None = None
    sent_twice: bool = False
    gate: GateNews = field(default_factory=GateNews)
    status: Status = field(default_factory=Status)
    signalled: Signalled = field(default_factory=Signalled)
    answers: list[Answer] = field(default_factory=list)
    failure: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        """Whether the application said that it has ended."""
        return self.status.ended
