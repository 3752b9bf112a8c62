"""Durable workflows: pure generators. No I/O, clock, randomness or environment lives here.

One file is one workflow, with everything that is known of it, and is found by being here. Every
workflow is registered as a versioned type from its first day, so that a change of its steps is a
new version and instances under way finish on the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from workflows.definition import Workflow, function

__all__ = ["WORKFLOWS", "UnknownKind", "Workflow", "function", "latest", "of_record"]


def _found() -> Iterator[Workflow]:
    for module in iter_modules(__path__):
        names = vars(import_module(f"{__name__}.{module.name}"))
        yield from (each for each in names.values() if isinstance(each, Workflow))


# One that a file imports from another is still one.
WORKFLOWS: tuple[Workflow, ...] = tuple({id(each): each for each in _found()}.values())


class UnknownKind(LookupError):
    """There is no such kind of workflow in this release; another may have it."""


def latest(kind: str) -> Workflow:
    """The version that new instances of a kind run.

    Raises:
        UnknownKind: there is none in this release.
    """
    known = (each for each in WORKFLOWS if each.kind == kind and each.latest)
    if (found := next(known, None)) is None:
        raise UnknownKind(f"this release knows no {kind}")
    return found


def of_record(record: Any) -> Workflow:
    """The version that an instance took when it began, or would take if it began now.

    `record` is a row that has its `kind` and `version`.

    Raises:
        UnknownKind: there is none in this release.
    """
    kind, version = record["kind"], record["version"]
    known = (each for each in WORKFLOWS if each.kind == kind and each.version == version)
    return next(known, None) or latest(kind)
