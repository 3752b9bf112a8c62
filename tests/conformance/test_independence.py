"""The suite judges anybody's application: it knows nothing of ours, and nothing that builds it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.settings import ROOT

SUITE = ROOT / "conformance"
OURS = {"activities", "app", "images", "simulation", "store", "workflows"}
# A mutant is a patch of our application, and names what it changes.
FILES = [
    path
    for path in sorted(SUITE.rglob("*"))
    if path.is_file()
    and path.suffix not in (".patch", ".pyc")
    and not path.is_relative_to(SUITE / "mutants")
]
MODULES = [path for path in FILES if path.suffix == ".py"]


def _name(path: Path) -> str:
    return str(path.relative_to(SUITE))


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_setting_of_our_application_is_named(path: Path) -> None:
    assert "STEADFAST_" not in path.read_text("utf-8")


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_of_our_application_is_imported(path: Path) -> None:
    assert {name for name in _imports(path) if name.partition(".")[0] in OURS} == set()


def test_an_import_would_be_seen(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import os, app.main\ndef late():\n    from workflows.saga import Saga\n")
    assert list(_imports(module)) == ["os", "app.main", "workflows.saga"]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
