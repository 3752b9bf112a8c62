"""All done or all undone, in reverse order: no path ends half-way, undos are last-in first-out."""

from __future__ import annotations

from itertools import pairwise

from conformance.contract import Ending
from conformance.evidence import Evidence
from conformance.patterns import matches, missing


def check(seen: Evidence) -> str | None:
    """Compares the effects of an instance that has ended with the endings of its path."""
    if disorder := _disorder(seen):
        return disorder
    if not seen.ended:
        return None
    best = min(seen.path.endings, key=lambda ending: len(missing(ending, seen.effects)))
    if absent := missing(best, seen.effects):
        return f"missing for {best.outcome}: {', '.join(absent)}; {_unsettled(seen)}"
    if surplus := _surplus_undos(seen, best):
        return f"undone although {best.outcome} does not undo it: {', '.join(surplus)}"
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
    for (first, earlier), (second, later) in pairwise(undone):
        if earlier < later:
            return f"{first} ran before {second}: undos are not in reverse order"
    return None


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


def _surplus_undos(seen: Evidence, ending: Ending) -> list[str]:
    undos = [effect for effect in seen.effects if seen.is_undo(effect)]
    return [
        effect["operation"]
        for effect in undos
        if not any(matches(pattern, effect) for pattern in ending.effects)
    ]


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
