"""No terminal failure is left: an instance ends as its workflow says, or waits for a person."""

from __future__ import annotations

from conformance.judge.evidence import Evidence


def check(seen: Evidence) -> str | None:
    """An instance that the engine ended in failure is taken up again; every outcome is declared."""
    if seen.ended and seen.outcome not in seen.sibling_outcomes:
        return f"it ended as {seen.outcome}, which no path of {seen.path.workflow} declares"
    if not seen.ended and seen.engine in ("FAILED", "TERMINATED"):
        return f"the engine's instance is {seen.engine}, and the application does not run it again"
    return None
