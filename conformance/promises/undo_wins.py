"""An undo beats a late do: what was undone stays undone, however late an attempt wakes up."""

from __future__ import annotations

from conformance.judge.evidence import Evidence
from conformance.plan.patterns import operation


def check(seen: Evidence) -> str | None:
    """Looks for a do that was committed after an undo of its operation was answered."""
    undone: dict[str, str] = {}
    closed = _closed(seen)
    for effect in seen.effects:
        name = effect["operation"]
        if name in closed and closed[name][0] < effect["at"]:
            undone.setdefault(name, closed[name][1])
        if seen.is_undo(effect):
            undone[seen.undoes.get(name, name)] = effect["key"]
        elif name in undone and not _declared_again(seen, name):
            return f"{name} ({effect['key']}) took effect after {undone[name]}"
    return None


def _closed(seen: Evidence) -> dict[str, tuple[str, str]]:
    """Undos that came before there was anything to take back: from then on there may be nothing.

    Where an operation is its own undo, an attempt does not tell which of the two it was.
    """
    found: dict[str, tuple[str, str]] = {}
    for attempt in seen.attempts:
        undo = attempt["operation"]
        name = seen.undoes.get(undo, undo)
        if name != undo and attempt["result"] == "closed":
            found.setdefault(name, (attempt["at"], attempt["key"]))
    return found


def _declared_again(seen: Evidence, name: str) -> bool:
    """Whether some ending does it again after its undo."""
    undos = {undo for undo, target in seen.undoes.items() if target == name}
    for ending in seen.path.endings:
        names = [operation(pattern) for pattern in ending.effects]
        first = next((n for n, each in enumerate(names) if each in undos), len(names))
        if name in names[first + 1 :]:
            return True
    return False
