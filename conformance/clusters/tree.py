"""Processes and their children, as /proc tells of them, and what a killed run has left of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path


def store_parent(work: Path) -> Path:
    """Where the data of a run's servers stands.

    Below the system's temporary folder, which PostgreSQL's own user can reach; named after the
    run's folder, so that the next run finds and removes what a killed one has left.
    """
    name = hashlib.sha256(str(work.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"steadfast-conformance-{name}"


def end_store_leftovers(work: Path) -> None:
    """Kills PostgreSQL's children of a run that was killed while its store was paused.

    They have written over their environment, so no mark tells whose they are; their folder does.
    """
    parent = store_parent(work)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cwd").readlink().is_relative_to(parent):
                send(int(folder.name), signal.SIGKILL)


def fresh_folder(path: Path) -> Path:
    """An empty folder: what a run keeps is its log, and data of the one before would be judged."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def fresh_store_folder(work: Path) -> Path:
    """An empty folder for the data of a run's servers."""
    parent = store_parent(work)
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(mode=0o711)
    return parent


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal; nothing happens when the process has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def stopped(pid: int) -> bool:
    """Whether a process is stopped, or gone."""
    return stat(pid)[:1] in ("T", "t", "")


def stat(pid: int) -> str:
    """State and parent of a process, as /proc tells them; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(pid: int) -> list[int]:
    """All children of a process, and theirs."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = stat(int(folder.name)).split()
        if len(fields) > 1:
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found
