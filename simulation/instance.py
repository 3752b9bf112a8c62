"""What the engine keeps of an instance, and the work items that move it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

ENDED = ("COMPLETED", "FAILED", "TERMINATED")


@dataclass(eq=False)
class Instance:
    """One run of an id; running the id again makes another one."""

    id: str
    kind: str
    input: str
    status: str = "RUNNING"
    version: str = ""
    history: list[Any] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)
    timers: dict[int, asyncio.TimerHandle] = field(default_factory=dict)
    turn: Item | None = None
    failure: tuple[str, str] | None = None
    output: str = ""
    generation: int = 1
    unreadable: bool = False
    damage: str = ""  # what the next turn will run into

    @property
    def ended(self) -> bool:
        """Whether it has come to an end, in whatever way."""
        return self.status in ENDED


@dataclass(eq=False)
class Item:
    """A work item: a turn of an instance, or an activity of one."""

    instance: Instance
    kind: Literal["turn", "activity"]
    number: int = 0
    name: str = ""
    message: str = ""
    done: bool = False
    events: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.instance.id} {self.name or 'turn'}" + (f"#{self.number}" * bool(self.name))
