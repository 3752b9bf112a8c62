"""Steps of a saga and the undos that take them back: a table, known before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workflows.messages import Settling

# What a step does when every attempt has failed: turn the saga down, ask a person and wait, go on
# and let a person know, or wait until the reconciliation loop finds it worth another try.
OnFailure = Literal["abort", "ask", "tell", "wait"]

ASK = Settling()  # what is pending is asked for, every minute, for a week


def nothing(_: Any) -> dict[str, Any]:
    """The body of an undo that has nothing to say but what it undoes."""
    return {}


@dataclass(frozen=True)
class Undo:
    """What takes a step back: its name, as in its key, and the operation that does it.

    What it has to say (`body`) comes from the input of the workflow alone: a later run that finds
    the saga on its way down has nothing else.
    """

    name: str
    do: str
    body: Callable[[Any], dict[str, Any]] = nothing


@dataclass(frozen=True)
class Step:
    """A step, named as in its key, with the operation that does it and what takes it back.

    A `numbered` step repeats by its nature, and its first key has its ordinal too.
    """

    name: str
    do: str
    undo: Undo | None = None
    on_failure: OnFailure = "abort"
    settling: Settling = ASK
    numbered: bool = False


@dataclass(frozen=True)
class Compensation:
    """The undo of what a step may have done under one of its keys, `undoes`."""

    step: Step
    undo: Undo
    name: str
    undoes: str


def compensations(
    id: str, steps: Sequence[Step], ordinals: Mapping[str, int]
) -> list[Compensation]:
    """The undos of steps that were tried under these ordinals, last in first out."""
    found = []
    for step in reversed(steps):
        for ordinal in range(ordinals.get(step.name, 1), 0, -1):
            if step.undo is not None:
                undoes = f"{id}/{numbered(step.name, ordinal, step.numbered)}"
                name = numbered(step.undo.name, ordinal)
                found.append(Compensation(step, step.undo, name, undoes))
    return found


def numbered(name: str, ordinal: int, always: bool = False) -> str:
    """A step's name as it stands in its key: with the ordinal, where it has one to tell."""
    return f"{name}/{ordinal}" if always or ordinal > 1 else name
