"""Arrows go one way: workflows <- store <- activities <- app; the suite knows none of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APPLICATION = ("workflows", "store", "activities", "app")
# What each folder may import of the others.
MAY: dict[str, frozenset[str]] = {
    "workflows": frozenset(),
    "store": frozenset({"workflows"}),
    "activities": frozenset({"workflows", "store"}),
    "app": frozenset({"workflows", "store", "activities"}),
    "downstream": frozenset(),
    "launcher": frozenset(),
    "conformance": frozenset({"downstream", "launcher"}),
    "simulation": frozenset({*APPLICATION, "downstream", "conformance", "launcher"}),
}


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported module, wherever it is imported, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where an arrow goes"
            yield node.lineno, node.module or ""


def strays(package: str, source: str) -> list[str]:
    """The imports of a file of this package that go against an arrow."""
    ours = {*MAY, "tests", "examples", "images", "bench"} - {package}
    return [
        f"line {line}: {module}"
        for line, module in imported(ast.parse(source))
        if (name := module.partition(".")[0]) in ours and name not in MAY[package]
    ]


@pytest.mark.parametrize("package", MAY)
def test_no_import_goes_against_an_arrow(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {str(file): strays(package, file.read_text("utf-8")) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_the_walk_finds_what_goes_against_an_arrow() -> None:
    assert strays("store", "from app.api import auth")
    assert strays("activities", "def f():\n    import app.settings")
    assert strays("workflows", "from store import records")
    assert strays("conformance", "from workflows import WORKFLOWS")
    assert not strays("app", "from store import records\nimport workflows.saga")


@pytest.mark.parametrize(
    "file",
    [
        "app/relay.py",
        "app/courier.py",
        "app/reconcile.py",
        "app/climb.py",
        "app/last_resort.py",
        "app/replay.py",
        "app/worker.py",
        "app/api/starts.py",
        "app/api/views.py",
        "app/api/webhooks.py",
        "app/api/workflows.py",
        "app/api/interventions.py",
        *(str(file.relative_to(ROOT)) for file in (ROOT / "app" / "audit").glob("*.py")),
    ],
)
def test_what_looks_after_all_workflows_knows_none(file: str) -> None:
    from workflows import WORKFLOWS

    source = (ROOT / file).read_text("utf-8")
    words = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    known = {
        name
        for each in WORKFLOWS
        for name in (each.kind, each.path, *each.done, *each.undone, *each.late)
    }
    assert not words & known
    modules = {f"workflows.{each.kind}" for each in WORKFLOWS}
    assert not modules & {module for _, module in imported(ast.parse(source))}
