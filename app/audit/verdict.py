"""What is to be thought of a charge, given what is known of its order. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from workflows import UnknownKind, Workflow, of_record

Word = Literal["fine", "wait", "ask", "refund"]


@dataclass(frozen=True)
class Verdict:
    """`fine`: accounted for; `wait`: too early; `ask`: a person's; `refund`: a record says so."""

    word: Word
    why: str


# Ended by a person, who was shown what it left standing.
BY_HAND = frozenset({"TERMINATED", "SETTLED"})

# Longer keys leave no room for the keys that are made of them.
LONGEST_KEY = 150
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


def possible(instance: str) -> bool:
    """Whether an instance can be one of ours: nothing else is looked up, or kept as it is."""
    return _ID.fullmatch(instance) is not None


def judge(
    key: str, instance: str, record: Any | None, settled: Collection[str], before: datetime
) -> Verdict:
    """The verdict on money that was taken under `key` for `instance`.

    `settled` are the keys of the instance's interventions that a person answered so. An order that
    did not end `before` then may still give it back.
    """
    if record is None:
        return Verdict("ask", "there is no record of it")
    workflow = _known(record)
    if workflow is None or workflow.audited is None:
        return Verdict("ask", f"its record is of a {record['kind']}")
    if any(_about(workflow, key, instance, each) for each in settled):
        return Verdict("fine", "settled by hand")
    if record["state"] != "ended":
        return Verdict("wait", "its instance has not ended")
    outcome = record["outcome"]
    if outcome in workflow.done or outcome in BY_HAND:
        return Verdict("fine", f"its instance ended {outcome}")
    if record["ended_at"] > before:
        return Verdict("wait", f"its instance ended {outcome} a moment ago")
    if outcome not in workflow.undone or not key.startswith(f"{instance}/"):
        return Verdict("ask", f"its instance ended {outcome}, and never took it under this key")
    return Verdict("refund", f"its instance ended {outcome}")


def _known(record: Any) -> Workflow | None:
    try:
        return of_record(record)
    except UnknownKind:
        return None  # a newer release accepted it


def _about(workflow: Workflow, charged: str, instance: str, key: str) -> bool:
    """Whether a matter, by its intervention's key, is about the money that was charged."""
    matter = key.removeprefix(f"{instance}/").partition("/")[0]
    return matter in _matters(workflow) or key.startswith(f"{charged}/")


def _matters(workflow: Workflow) -> Iterator[str]:
    """Step and undo that move the money, and what makes good what came late of it."""
    step = workflow.audited
    if step is not None:
        yield from (step.name, *([step.undo.name] if step.undo else ()))
    for type, late in workflow.late.items():
        if (undo := late.undo) is not None and late.undoes == step:
            yield from (type, undo.name)
