"""The promises: one file each, its docstring is the promise, its `check` says why it is broken.

A check gets the evidence on one instance, all of it seen from outside, and returns `None` when
the promise holds. To add one, write such a file and name it below, or as an entry point of the
group `conformance.promises`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import ModuleType

from conformance import extensions
from conformance.errors import ExtensionError
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

__all__ = ["GROUP", "checks", "modules", "text"]

GROUP = "conformance.promises"
OURS: tuple[ModuleType, ...] = (
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


@cache
def modules() -> Mapping[str, ModuleType]:
    """The promises by name, ours first.

    Raises:
        ExtensionError: one of another distribution cannot be used.
    """
    found = {module.__name__.rpartition(".")[2]: module for module in OURS}
    for name, module in extensions.load(GROUP):
        if not (callable(getattr(module, "check", None)) and module.__doc__):
            raise ExtensionError(f"{GROUP}: {name} needs a docstring and a function check")
        if name in found:
            raise ExtensionError(f"{GROUP}: there are two promises {name}; rename one")
        found[name] = module
    return found


def checks() -> Mapping[str, Check]:
    """What says why each promise is broken, by its name."""
    return {name: module.check for name, module in modules().items()}


def text(name: str) -> str:
    """The promise in words."""
    return (modules()[name].__doc__ or "").strip()
