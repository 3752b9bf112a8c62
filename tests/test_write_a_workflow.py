"""docs/write-a-workflow.md, followed to the letter: its blocks are the source of four files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.pages import blocks, python

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "write-a-workflow.md"
FILES = {
    "activities/providers.toml",
    "workflows/subscription_renewal.py",
    "tests/workflows/test_subscription_renewal.py",
    "target.toml",
}
COPIED = ("app", "store", "activities", "workflows", "tests", "components")
LINKED = ("conformance", "downstream", "launcher", "simulation", "runtime", "examples", ".runtime")
MOST_OF_A_WORKFLOW, MOST_IN_ALL = 60, 110


def written() -> dict[str, str]:
    return {block["file"]: block["text"] for block in blocks(PAGE)}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which somebody has followed the page."""
    folder = tmp_path_factory.mktemp("followed")
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    for name in ("pyproject.toml", "target.toml"):
        shutil.copy(ROOT / name, folder / name)
    for file, text in written().items():
        with (folder / file).open("a", encoding="utf-8") as to:
            to.write(("\n" if file.endswith(".toml") else "") + text)
    return folder


def test_it_is_as_short_as_it_says() -> None:
    files = written()
    assert files.keys() == FILES
    assert not any((ROOT / file).exists() for file in FILES if "subscription" in file)
    assert len(files["workflows/subscription_renewal.py"].splitlines()) <= MOST_OF_A_WORKFLOW
    assert sum(len(text.splitlines()) for text in files.values()) <= MOST_IN_ALL


def test_its_tests_and_those_of_every_definition_pass(followed: Path) -> None:
    tests = ("test_subscription_renewal.py", "test_definitions.py", "test_purity.py")
    asked = [f"tests/workflows/{name}" for name in tests]
    asked += ["tests/conformance/test_target.py", "tests/test_arrows.py"]
    printed = python(followed, followed, "-m", "pytest", "-q", "-n0", *asked)
    assert " passed" in printed


def test_what_it_writes_is_well_typed_and_well_formed(followed: Path) -> None:
    files = [str(followed / file) for file in FILES if file.endswith(".py")]
    python(followed, followed, "-m", "ruff", "check", *files)
    python(followed, followed, "-m", "ruff", "format", "--check", *files)
    python(followed, followed, "-m", "mypy", "-p", "workflows")


def test_a_typing_error_in_an_operation_is_found_before_anything_runs(followed: Path) -> None:
    found = python(
        followed,
        followed,
        "-c",
        "from dataclasses import replace\n"
        "from activities import flaws\n"
        "from workflows.subscription_renewal import EXTEND, V1\n"
        "print(flaws([replace(V1, steps=(replace(EXTEND, do='entitlement.extnd'),))]))",
    )
    assert "entitlement.extnd" in found


def test_the_suite_kills_it_everywhere_and_it_is_charged_once(followed: Path) -> None:
    printed = python(
        followed,
        followed,
        *("-m", "conformance", "run", "--store", "sqlite", "--faults", "app:kill"),
        *("--paths", "subscription_renewal/*", "--work", str(followed / "work")),
        timeout=300,
    )
    judged = [int(count) for count in re.findall(r"(\d+) passed", printed)]
    assert sum(judged) >= 10, printed
