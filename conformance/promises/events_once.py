"""Every event is consumed once, across generations: none is lost, and a repeated one is not new."""

from __future__ import annotations

from conformance.judge.evidence import Evidence
from conformance.plan.patterns import complete

REPEATED = ("event:", "client:signal")


def check(seen: Evidence) -> str | None:
    """After every signal was accepted, the instance may not go on waiting."""
    wanted = {f"signal {number}" for number, _ in enumerate(seen.path.signals, 1)}
    accepted = {answer.what for answer in seen.answers if answer.accepted}
    if not seen.ended and seen.idle and wanted and wanted <= accepted:
        return f"all {len(wanted)} events were accepted, and it still waits for one"
    if seen.ended and seen.fault == "message:duplicate" and seen.point.startswith(REPEATED):
        known = [ending.outcome for ending in seen.path.endings]
        if seen.outcome not in known:
            return f"with an event delivered twice it ended as {seen.outcome}, not {known}"
        if not any(complete(ending, seen.effects) for ending in seen.path.endings):
            return "with an event delivered twice, its effects are not those of any ending"
    return None
