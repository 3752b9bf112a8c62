"""One alert per incident: nothing is told twice, and nothing is left untold."""

from __future__ import annotations

from conformance.judge.evidence import Evidence
from conformance.plan.patterns import matches


def check(seen: Evidence) -> str | None:
    """Counts each kind of alert against the endings of the path."""
    for pattern in seen.path.alerts:
        told = [effect for effect in seen.effects if matches(pattern, effect)]
        allowed = {_declared(ending.effects, told, pattern) for ending in seen.path.endings}
        if len(told) > max(allowed):
            keys = ", ".join(effect["key"] for effect in told)
            return f"{pattern}: told {len(told)} times, not {max(allowed)} ({keys})"
        if seen.ended and len(told) < min(allowed):
            return f"{pattern}: told {len(told)} times, not {min(allowed)}"
    return None


def _declared(effects: tuple[str, ...], told: list[dict[str, object]], pattern: str) -> int:
    """How many of an ending's effects are alerts of this kind."""
    return sum(1 for effect in effects if set(pattern.split()) <= set(effect.split()))
