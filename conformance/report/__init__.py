"""The reports of a run, each made from the events alone: terminal, JUnit XML and HTML."""

from __future__ import annotations

from pathlib import Path

from conformance import events
from conformance.report import html, junit
from conformance.report.run import gather

__all__ = ["write"]


def write(log: Path, folder: Path) -> list[Path]:
    """Makes `junit.xml` and `report.html` from a log; returns where they are.

    Raises:
        OSError: the log cannot be read, or the folder not be written.
        ValueError: the log is not one, or has nothing in it.
    """
    run = gather(events.read(log))
    if not run.last:
        raise ValueError(f"{log}: there is no event in it")
    folder.mkdir(parents=True, exist_ok=True)
    made = {"junit.xml": junit.render(run), "report.html": html.render(run, log.name)}
    for name, text in made.items():
        (folder / name).write_text(text, "utf-8")
    return [folder / name for name in made]
