"""Effects as a target writes them: `operation`, or `operation field=value …`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.plan.contract import Ending


def operation(pattern: str) -> str:
    """The operation that a pattern is about."""
    return pattern.split()[0]


def matches(pattern: str, effect: Mapping[str, Any]) -> bool:
    """Whether an effect of the ledger is what a pattern says."""
    name, *fields = pattern.split()
    wanted = (field.partition("=") for field in fields)
    detail = effect["detail"]
    return bool(effect["operation"] == name) and all(
        str(detail.get(key)) == value for key, _, value in wanted
    )


def missing(ending: Ending, effects: Sequence[Mapping[str, Any]]) -> list[str]:
    """The patterns of an ending that no effect is left for; each effect counts for one."""
    left = list(effects)
    absent = []
    # The more a pattern says, the earlier it chooses.
    for pattern in sorted(ending.effects, key=lambda text: -len(text.split())):
        found = next((effect for effect in left if matches(pattern, effect)), None)
        if found is None:
            absent.append(pattern)
        else:
            left.remove(found)
    return absent


def unexpected(ending: Ending, effects: Sequence[Mapping[str, Any]]) -> list[str]:
    """The effects that an ending does not name at all; how often each occurs does not matter."""
    return [
        f"{effect['operation']} ({effect['key']})"
        for effect in effects
        if not any(matches(pattern, effect) for pattern in ending.effects)
    ]


def complete(ending: Ending, effects: Sequence[Mapping[str, Any]]) -> bool:
    """Whether everything that an ending names was done, and nothing of another kind."""
    return not missing(ending, effects) and not unexpected(ending, effects)


def counts(ending: Ending) -> Counter[str]:
    """How often an ending has each operation."""
    return Counter(operation(pattern) for pattern in ending.effects)
