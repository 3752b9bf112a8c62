"""What a package gives to others is written in its `__all__`, and nobody takes anything else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from launcher.settings import ROOT

PUBLISHED = ("activities", "app", "conformance", "downstream", "launcher", "store", "workflows")
DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def packages() -> Iterator[str]:
    """Every published package whose `__init__` has anything but a docstring."""
    for top in PUBLISHED:
        for file in sorted((ROOT / top).rglob("__init__.py")):
            tree = ast.parse(file.read_text("utf-8"))
            if any(isinstance(node, (ast.ImportFrom, *DEFINING)) for node in tree.body):
                yield ".".join(file.parent.relative_to(ROOT).parts)


NAMED = tuple(packages())


def taken(source: str, package: str) -> set[str]:
    """The names that a file imports from a package itself; its modules are no such names."""
    found = {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == package
        for alias in node.names
    }
    folder = ROOT / Path(*package.split("."))
    return {
        name
        for name in found
        if not any(folder.glob(f"{name}.py")) and not (folder / name).is_dir()
    }


@pytest.mark.parametrize("package", NAMED)
def test_a_package_says_what_is_public(package: str) -> None:
    module = import_module(package)
    public: list[str] = module.__all__
    assert len(set(public)) == len(public)
    assert [name for name in public if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", NAMED)
def test_nobody_takes_from_a_package_what_is_not_public(package: str) -> None:
    public = set(import_module(package).__all__)
    hidden = {
        str(file.relative_to(ROOT)): sorted(beyond)
        for top in (*PUBLISHED, "simulation", "images")
        for file in (ROOT / top).rglob("*.py")
        if (beyond := taken(file.read_text("utf-8"), package) - public)
    }
    assert hidden == {}


def test_the_walk_finds_what_is_taken() -> None:
    source = "from store import Store, records\nfrom launcher import Stack as S\n"
    assert taken(source, "store") == {"Store"}
    assert taken(source, "launcher") == {"Stack"}
