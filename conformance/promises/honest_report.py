"""What the application reports is what the ledger shows."""

from __future__ import annotations

from conformance.judge.evidence import Evidence
from conformance.plan.patterns import complete


def check(seen: Evidence) -> str | None:
    """The outcome that is reported is that of an ending whose effects are there."""
    if not seen.ended or seen.path.claims:
        return None
    real = {e.outcome for e in seen.path.endings if complete(e, seen.effects)}
    if real and seen.outcome not in real:
        return f"it reports {seen.outcome}; the ledger shows {' or '.join(sorted(real))}"
    return None
