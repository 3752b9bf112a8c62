"""Approvals: decided in time, escalated, at the last moment, by two people, never."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulation.schedule import HOUR
from simulation.stories.plot import APPROVER, DIRECTOR, SECOND, Plot, Story


def _approval(plot: Plot, amount: int = 5_000_000) -> None:
    plot.start("/approvals", {"title": "a new press", "action": "buy", "amount": amount})


def _decide(plot: Plot, after: float, approved: bool, who: dict[str, Any]) -> None:
    event = f"{plot.id}-{who['subject']}-{'yes' if approved else 'no'}"
    body = {"event_id": event, "approved": approved}
    plot.call(after, f"/approvals/{plot.id}/decision", body, **who)


def _approval_automatic(plot: Plot) -> None:
    _approval(plot, amount=99)


def _approval_approved(plot: Plot) -> None:
    _approval(plot)
    _decide(plot, plot.between(1, 47 * HOUR), True, APPROVER)


def _approval_rejected(plot: Plot) -> None:
    _approval(plot)
    _decide(plot, plot.between(1, 47 * HOUR), False, APPROVER)


def _approval_escalated(plot: Plot) -> None:
    _approval(plot)
    _decide(plot, plot.between(49 * HOUR, 71 * HOUR), plot.rng.random() < 0.5, DIRECTOR)


def _approval_expired(plot: Plot) -> None:
    _approval(plot)
    # Later than any outage that is drawn can delay the end.
    _decide(plot, 80 * HOUR, True, DIRECTOR)


def _approval_raced(plot: Plot) -> None:
    """Two people contradict each other within a second."""
    _approval(plot)
    at = plot.between(1, 47 * HOUR)
    _decide(plot, at, True, APPROVER)
    _decide(plot, at + plot.between(0, 1), False, SECOND)


def _approval_at_the_last_moment(plot: Plot) -> None:
    """Decisions within seconds of the escalation, and of the end."""
    _approval(plot)
    if plot.rng.random() < 0.5:
        _decide(plot, 48 * HOUR + plot.between(-3, 3), True, APPROVER)
    _decide(plot, 72 * HOUR + plot.between(-3, 3), False, DIRECTOR)


def _approval_cancelled(plot: Plot) -> None:
    """Withdrawn at about the time at which a person decides."""
    _approval(plot)
    at = plot.between(1, 47 * HOUR)
    plot.cancel(at)
    _decide(plot, max(0.0, at + plot.between(-2, 2)), True, APPROVER)


STORIES: Mapping[str, Story] = {
    "approval-automatic": Story("approval", frozenset({"APPROVED"}), _approval_automatic),
    "approval-approved": Story("approval", frozenset({"APPROVED"}), _approval_approved),
    "approval-rejected": Story("approval", frozenset({"REJECTED"}), _approval_rejected),
    "approval-escalated": Story(
        "approval", frozenset({"APPROVED", "REJECTED"}), _approval_escalated
    ),
    "approval-expired": Story("approval", frozenset({"TIMED_OUT"}), _approval_expired),
    "approval-raced": Story("approval", frozenset({"APPROVED", "REJECTED"}), _approval_raced),
    "approval-last-moment": Story(
        "approval",
        frozenset({"APPROVED", "REJECTED", "TIMED_OUT"}),
        _approval_at_the_last_moment,
        weight=2,
    ),
    "approval-cancelled": Story(
        "approval", frozenset({"APPROVED", "CANCELLED"}), _approval_cancelled
    ),
}
