"""A duplicate start changes nothing: same id, same instance, no effect besides."""

from __future__ import annotations

from conformance.judge.evidence import Evidence


def check(seen: Evidence) -> str | None:
    """Compares the effects before and after the start was sent again."""
    if seen.before_repeat is None:
        return None
    before = len(seen.before_repeat)
    if len(seen.effects) > before:
        new = [f"{effect['operation']} ({effect['key']})" for effect in seen.effects[before:]]
        return f"started again after its end, it did more: {', '.join(new)}"
    return None
