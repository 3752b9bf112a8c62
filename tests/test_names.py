"""One name for one thing: no class or type is called as another one of its package."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "activities",
    "app",
    "conformance",
    "downstream",
    "images",
    "launcher",
    "simulation",
    "store",
    "workflows",
)
# Names that still stand for two things. It only shrinks: a name that is single again fails too.
DOUBLE: Mapping[str, set[str]] = {}
ALIAS = re.compile(r"[A-Z]\w*[a-z]\w*")  # and no CONSTANT


def names(module: ast.Module) -> Iterator[str]:
    """Every class, nested ones too, and every alias of a type."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for node in module.body:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and ALIAS.fullmatch(target.id):
                yield target.id


def doubles(folder: Path) -> dict[str, list[str]]:
    """What is defined more than once in a package, and in which files."""
    found = defaultdict(list)
    for file in sorted(folder.rglob("*.py")):
        for name in names(ast.parse(file.read_text("utf-8"))):
            found[name].append(str(file.relative_to(folder)))
    assert found, f"{folder.name} defines nothing: is this still its name?"
    return {name: files for name, files in found.items() if len(files) > 1}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_used_for_two_things(package: str) -> None:
    found = doubles(ROOT / package)
    known = DOUBLE.get(package, set())
    assert not {name: files for name, files in found.items() if name not in known}
    assert not known - found.keys(), "single again: take it out of the list"


def test_a_name_that_is_used_twice_is_found_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.py").write_text("class Gate: ...\nclass Other: ...\nWord = str\nLIMIT = 1\n")
    nested = "Word = int\nLIMIT = 2\ndef made():\n    class Gate: ...\n"
    (tmp_path / "sub" / "two.py").write_text(nested)
    assert doubles(tmp_path) == {name: ["one.py", "sub/two.py"] for name in ("Gate", "Word")}
