"""One decision, one outcome: what was accepted is what happens, and nothing else decides."""

from __future__ import annotations

from conformance.judge.evidence import Evidence


def check(seen: Evidence) -> str | None:
    """Every accepted claim came true, and a decided outcome was claimed by an accepted decision."""
    if not seen.path.claims or not seen.ended:
        return None
    accepted = {answer.claims for answer in seen.answers if answer.accepted and answer.claims}
    if len(accepted) > 1:
        return f"contradicting decisions were all accepted: {', '.join(sorted(accepted))}"
    if accepted and seen.outcome not in accepted:
        return f"{accepted.pop()} was accepted, and it ended as {seen.outcome}"
    declared = {ending.outcome for ending in seen.path.endings}
    if not accepted and seen.outcome not in declared:
        return f"it ended as {seen.outcome}, and no accepted decision says so"
    return None
