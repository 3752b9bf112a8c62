"""Arrows within the suite go one way, and one name stands for one class."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import conformance

SUITE = Path(conformance.__file__).parent
ORDER = (
    ("errors", "topology"),
    ("extensions",),
    ("plan", "gates"),
    ("clients", "clusters", "events"),
    ("judge",),
    ("promises", "faults", "report"),
    ("mutants",),
    ("run",),
    ("commands",),
    ("debugging",),
    ("cli",),
    ("plugin", "__main__"),
)
"""Who may be imported by whom: whatever stands in a line above, and its own package."""


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(SUITE.rglob("*.py")):
        yield file.relative_to(SUITE), ast.parse(file.read_text("utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("conformance"):
            names = (node.module or "").split(".")[1:2] or [each.name for each in node.names]
            yield from names
        elif isinstance(node, ast.Import):
            yield from (n.name.split(".")[1] for n in node.names if n.name.startswith("conform"))


def test_whoever_is_imported_stands_above() -> None:
    line = {name: number for number, names in enumerate(ORDER) for name in names}
    wrong = [
        f"{file} imports {name}"
        for file, tree in modules()
        if (mine := file.parts[0].removesuffix(".py")) != "__init__"
        for name in imported(tree)
        if name != mine and line[name] >= line[mine]
    ]
    assert wrong == []


def test_no_name_is_that_of_two_classes() -> None:
    places = defaultdict(list)
    for file, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(str(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
