"""Nothing accepted is lost: what was answered with a 2xx is known, and is worked on."""

from __future__ import annotations

from conformance.judge.evidence import Evidence


def check(seen: Evidence) -> str | None:
    """An accepted start is neither unknown to the application nor left untouched."""
    accepted = [answer for answer in seen.answers if answer.what == "start" and answer.accepted]
    if not accepted:
        return None
    if seen.missing:
        return f"accepted with {accepted[0].status}, and the application knows nothing of it"
    if not seen.ended and not seen.turns and not seen.attempts:
        return f"accepted with {accepted[0].status}, and never begun"
    return None
