"""Faults and promises of other distributions, found by entry points.

A distribution names them in its `pyproject.toml`, in the groups `conformance.faults` (a subclass of
`conformance.faults.kind.FaultKind`) and `conformance.promises` (a module with a docstring and a
function `check`).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from conformance.errors import ExtensionError


def load(group: str) -> Iterator[tuple[str, Any]]:
    """What is installed in a group, by its name there.

    Raises:
        ExtensionError: one cannot be imported; says which, and whose it is.
    """
    for each in sorted(entry_points(group=group), key=lambda each: each.name):
        try:
            yield each.name, each.load()
        except Exception as error:
            whose = f" of {each.dist.name}" if each.dist else ""
            text = f"{each.value}{whose} cannot be imported: {type(error).__name__}: {error}"
            raise ExtensionError(f"{group}: {text}; repair or uninstall it") from error
