"""An effect at most once, whatever is retried, dispatched again, replayed or woken up late."""

from __future__ import annotations

from collections import Counter

from conformance.judge.evidence import Evidence
from conformance.plan.patterns import counts


def check(seen: Evidence) -> str | None:
    """Counts effects by key, and by operation against what any ending of the path allows."""
    effects = [effect for effect in seen.effects if not seen.is_alert(effect)]
    keys = Counter((effect["operation"], effect["key"]) for effect in effects)
    if twice := [f"{operation} ({key})" for (operation, key), n in keys.items() if n > 1]:
        return f"committed more than once under one key: {', '.join(twice)}"
    done = Counter(e["operation"] for e in effects if not seen.is_undo(e))
    undone = Counter(e["operation"] for e in effects if seen.is_undo(e))
    for operation, n in done.items():
        allowed = max(counts(ending)[operation] for ending in seen.path.endings)
        if n > max(allowed - undone[operation], 0):
            rows = [e["key"] for e in effects if e["operation"] == operation]
            return f"{operation} took effect {n} times, not {allowed}: {', '.join(rows)}"
    for operation, n in undone.items():
        targets = Counter(e["undoes"] for e in effects if e["operation"] == operation)
        if repeated := [key for key, count in targets.items() if count > 1]:
            return f"{operation} undid {', '.join(repeated)} more than once ({n} undos)"
    return None
