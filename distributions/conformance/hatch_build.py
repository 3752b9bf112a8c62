"""Gathers the suite's files from the tree that it shares with the application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("conformance", "downstream", "launcher")
RESOURCES = ("components", "runtime")
"""No code: they lie beside the packages in a checkout, and inside `launcher` in a wheel."""
SKIPPED = (".patch", ".pyc")  # The mutants are those of the application that is not in here.


class Tree(BuildHookInterface):  # type: ignore[type-arg]
    """Adds to a wheel, or to a source distribution, what is not below this folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Names each file and its place."""
        here = Path(self.root)
        unpacked = (here / PACKAGES[0]).is_dir()  # From a source distribution.
        tree = here if unpacked else here.parent.parent
        shipped = "" if self.target_name == "sdist" else "launcher/shipped/"
        for folder in (*PACKAGES, *RESOURCES):
            place = f"{shipped if folder in RESOURCES else ''}{folder}"
            for file in _files(tree / folder):
                target = f"{place}/{file.relative_to(tree / folder).as_posix()}"
                build_data["force_include"][str(file)] = target


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in SKIPPED:
            yield path
