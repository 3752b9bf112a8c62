"""workflows/ is pure: a walk over its syntax refuses everything that a replay could see change."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import workflows

FOLDER = Path(workflows.__file__).parent

ALLOWED = {
    "__future__",
    "collections",
    "collections.abc",
    "dapr.ext.workflow",
    "dataclasses",
    "datetime",
    "hashlib",
    "functools",
    "pydantic",
    "pydantic_core",
    "re",
    "typing",
}
# The workflows are found when the package is imported, and never again.
FINDS = {"importlib", "pkgutil"}
IMPURE_CALLS = {"now", "utcnow", "today", "open", "print", "input", "eval", "exec", "__import__"}
TASKS = {"call_activity", "call_child_workflow", "create_timer", "wait_for_external_event"}


def generators(trees: list[ast.Module]) -> set[str]:
    """Names of the functions that are declared to yield: calling one does nothing by itself."""
    return {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and isinstance(node.returns, ast.Subscript)
        and isinstance(node.returns.value, ast.Name)
        and node.returns.value.id == "Yields"
    }


def called(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else None


def impurities(tree: ast.Module, yielding: set[str], allowed: set[str] = ALLOWED) -> Iterator[str]:
    driven = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.YieldFrom)}
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', '?')}"
        if isinstance(node, ast.Import):
            yield from (f"{where}: import {a.name}" for a in node.names if a.name not in allowed)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module not in allowed and module.split(".")[0] != "workflows":
                yield f"{where}: import from {module}"
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.With | ast.Global):
            yield f"{where}: {type(node).__name__}"
        elif isinstance(node, ast.Expr) and called(node.value) in TASKS:
            yield f"{where}: a task that nobody yields"
        elif called(node) in IMPURE_CALLS:
            yield f"{where}: calls {called(node)}"
        elif called(node) in yielding and id(node) not in driven:
            yield f"{where}: {called(node)} is called without 'yield from'"


def test_workflows_are_pure() -> None:
    trees = {path: ast.parse(path.read_text()) for path in FOLDER.rglob("*.py")}
    yielding = generators(list(trees.values())) - {"forward"}
    assert len(trees) >= 3
    found = [
        f"{path.name} {flaw}"
        for path, tree in trees.items()
        for flaw in impurities(
            tree, yielding, ALLOWED | FINDS if path.name == "__init__.py" else ALLOWED
        )
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from os import environ",
        "import random",
        "import httpx",
        "from store import records",
        "x = datetime.now()",
        "x = open('f')",
        "async def f(): pass",
        "def f(ctx):\n    ctx.call_activity('a')",
        "def f(saga):\n    saga.step(1, {})",
        "def f(saga):\n    x = saga.wait('a', 1)",
    ],
)
def test_the_walk_refuses(code: str) -> None:
    assert list(impurities(ast.parse(code), {"step", "wait"}))
