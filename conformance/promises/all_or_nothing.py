"""All done or all undone, in reverse order: no path ends half-way, undos are last-in first-out."""

from __future__ import annotations

from itertools import pairwise

from conformance.judge.evidence import Evidence
from conformance.plan.contract import Ending
from conformance.plan.patterns import matches, missing, operation, unexpected


def check(seen: Evidence) -> str | None:
    """Compares the effects of an instance that has ended with the endings of its path."""
    if disorder := _disorder(seen):
        return disorder
    if not seen.ended:
        return None
    effects = [effect for effect in seen.effects if not seen.is_alert(effect)]
    best = min(
        seen.path.endings,
        key=lambda ending: len(missing(ending, seen.effects)) + len(unexpected(ending, effects)),
    )
    if absent := missing(best, seen.effects):
        return f"missing for {best.outcome}: {', '.join(absent)}; {_unsettled(seen)}"
    if surplus := unexpected(best, effects):
        return f"done although {best.outcome} does not name it: {', '.join(surplus)}"
    if not best.unordered and (wrong := _misplaced(best, seen)):
        return wrong
    return None


def _disorder(seen: Evidence) -> str | None:
    order = {effect["key"]: n for n, effect in enumerate(seen.effects) if not seen.is_undo(effect)}
    undone = [
        (effect["operation"], order[effect["undoes"]])
        for effect in seen.effects
        if seen.is_undo(effect) and effect["undoes"] in order
    ]
    if any([name for name, _ in undone] == _undos(seen, ending) for ending in seen.path.endings):
        # Where an undo fails for a while and is tried again later, the path says so.
        return None
    for (first, earlier), (second, later) in pairwise(undone):
        if earlier < later:
            return f"{first} ran before {second}: undos are not in reverse order"
    return None


def _undos(seen: Evidence, ending: Ending) -> list[str]:
    names = [operation(pattern) for pattern in ending.effects]
    return [name for name in names if seen.undoes.get(name, name) != name]


def _unsettled(seen: Evidence) -> str:
    undone = {effect["undoes"] for effect in seen.effects if seen.is_undo(effect)}
    undoable = set(seen.undoes.values())
    standing = [
        effect["key"]
        for effect in seen.effects
        if not seen.is_undo(effect)
        and effect["operation"] in undoable
        and effect["key"] not in undone
    ]
    return f"standing: {', '.join(standing) or 'nothing'}"


def _misplaced(ending: Ending, seen: Evidence) -> str | None:
    """The first appearance of each effect, in the ending's own order."""
    position = -1
    left = list(enumerate(seen.effects))
    for pattern in ending.effects:
        found = next((pair for pair in left if matches(pattern, pair[1])), None)
        if found is None:
            return None
        left.remove(found)
        if found[0] < position:
            return f"{pattern} came too early for {ending.outcome}"
        position = found[0]
    return None
