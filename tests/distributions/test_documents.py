"""The documents say what is there: links lead somewhere, files exist, excerpts are the code's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.settings import ROOT

DOCUMENTS = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "distributions").rglob("*.md")),
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`([\w./-]+(?:/|\.(?:py|md|toml|yml)))`")
FOLDERS = (
    "",
    "activities",
    "app",
    "conformance",
    "launcher",
    "workflows",
)  # What a table's row is about is not said twice.
NAMED = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md")
EXCERPT = re.compile(r"\]\((?P<file>[^)\s]+\.py)\):\n\n```python\n(?P<text>.*?)```", re.S)


def anchors(text: str) -> set[str]:
    """The headings of a document as GitHub makes anchors of them."""
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def dead(file: Path, text: str) -> Iterator[str]:
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        goal = (file.parent / path) if path else file
        if not goal.exists() or (anchor and anchor not in anchors(goal.read_text("utf-8"))):
            yield link


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_leads_somewhere(file: Path) -> None:
    assert list(dead(file, file.read_text("utf-8"))) == []


@pytest.mark.parametrize("name", NAMED)
def test_every_file_that_is_named_is_there(name: str) -> None:
    named = set(FILE.findall((ROOT / name).read_text("utf-8")))
    made = {each for each in named if each.startswith((".", "/")) or "junit" in each}
    assert [
        each
        for each in sorted(named - made)
        if not any((ROOT / folder / each).exists() for folder in FOLDERS)
    ] == []


def test_what_is_quoted_stands_in_the_code() -> None:
    file = ROOT / "docs" / "why.md"
    found = list(EXCERPT.finditer(file.read_text("utf-8")))
    assert found
    for each in found:
        assert each["text"] in (file.parent / each["file"]).read_text("utf-8")


def test_a_dead_link_is_found() -> None:
    text = "[a](nowhere.md) [b](README.md#known-limits) [c](README.md#nowhere)"
    assert list(dead(ROOT / "X.md", text)) == ["nowhere.md", "README.md#nowhere"]
