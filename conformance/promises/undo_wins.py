"""An undo beats a late do: what was undone stays undone, however late an attempt wakes up."""

from __future__ import annotations

from conformance.evidence import Evidence
from conformance.patterns import operation


def check(seen: Evidence) -> str | None:
    """Looks for a do that was committed after the undo of its operation."""
    undone: dict[str, str] = {}
    for effect in seen.effects:
        name = effect["operation"]
        if seen.is_undo(effect):
            undone[seen.undoes.get(name, name)] = effect["key"]
        elif name in undone and not _declared_again(seen, name):
            return f"{name} ({effect['key']}) took effect after {undone[name]}"
    return None


def _declared_again(seen: Evidence, name: str) -> bool:
    """Whether some ending does it again after its undo."""
    undos = {undo for undo, target in seen.undoes.items() if target == name}
    for ending in seen.path.endings:
        names = [operation(pattern) for pattern in ending.effects]
        first = next((n for n, each in enumerate(names) if each in undos), len(names))
        if name in names[first + 1 :]:
            return True
    return False
