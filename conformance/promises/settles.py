"""Everything settles within the deadline after the last fault is healed."""

from __future__ import annotations

from conformance.judge.evidence import Evidence


def check(seen: Evidence) -> str | None:
    """The instance has ended in time."""
    if seen.ended:
        return None
    last = "it never answered" if seen.status is None else f"last seen: {_summary(seen.status)}"
    return f"not ended {seen.deadline:.0f} s after the last fault was healed; {last}"


def _summary(status: dict[str, object]) -> str:
    plain = {k: v for k, v in status.items() if isinstance(v, str | int | float | bool)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())[:300]
