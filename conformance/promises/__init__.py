"""The promises: one file each, its docstring is the promise, its `check` says why it is broken.

A check gets the evidence on one instance, all of it seen from outside, and returns `None` when
the promise holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from conformance.judge.verdict import Check
from conformance.promises import (
    all_or_nothing,
    at_most_once,
    duplicate_start,
    events_once,
    honest_report,
    no_dead_end,
    nothing_lost,
    one_alert,
    one_decision,
    settles,
    undo_wins,
)

_MODULES: tuple[ModuleType, ...] = (
    at_most_once,
    all_or_nothing,
    undo_wins,
    nothing_lost,
    no_dead_end,
    one_decision,
    events_once,
    one_alert,
    duplicate_start,
    honest_report,
    settles,
)

PROMISES: Mapping[str, Check] = {
    module.__name__.rpartition(".")[2]: module.check for module in _MODULES
}


def text(name: str) -> str:
    """The promise in words."""
    module = next(each for each in _MODULES if each.__name__.endswith(f".{name}"))
    return (module.__doc__ or "").strip()
