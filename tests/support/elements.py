"""What is in an HTML document: enough of it to say what a reader sees."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser


class Elements(HTMLParser):
    """Counts the classes of elements, and gathers the text below each id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.classes: Counter[str] = Counter()
        self._open: list[tuple[str, str | None]] = []
        self.below: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.classes.update((known.get("class") or "").split())
        if tag not in ("meta", "input", "br", "link"):
            self._open.append((tag, known.get("id")))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for name in {each for _, each in self._open if each}:
            self.below.setdefault(name, []).append(data)

    def said(self, name: str) -> str:
        return " ".join(" ".join(self.below.get(name, [])).split())
