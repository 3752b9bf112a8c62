"""What people are told of an open intervention, and when.

An alert at once; a reminder after a while and then again and again; an escalation to somebody else
when a day has passed. Each has a key of its own, whose ordinal counts reminders and never tries, so
nobody is told twice of the same. An answer ends all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field

ON_CALL = "on-call"


class Pace(BaseModel):
    """How often people are told. Durations are seconds; the notifier knows the recipients."""

    remind_after: float = Field(default=4 * 3_600.0, gt=0, description="after the alert")
    remind_every: float = Field(default=86_400.0, gt=0, description="after the first reminder")
    escalate_after: float = Field(default=86_400.0, gt=0, description="after it was opened")
    escalate_to: str = Field(default="duty-manager", min_length=1, max_length=100)


@dataclass(frozen=True)
class Notice:
    """One message: its key, the letter, and what its row says once it has been accepted.

    `before` is the key of an earlier one that is over then, and is forgotten.
    """

    key: str
    letter: Mapping[str, Any]
    then: dict[str, Any]
    before: str | None = None


def due(row: Mapping[str, Any], pace: Pace, at: datetime) -> list[Notice]:
    """The notices of an open intervention whose time has come."""
    notices = []
    if row["alerted_at"] is None:
        notices.append(_alert(row, at))
    elif _reminder_at(row, pace) <= at:
        notices.append(_reminder(row, at))
    if row["escalated_at"] is None and _escalation_at(row, pace) <= at:
        notices.append(_escalation(row, pace, at))
    return notices


def following(row: Mapping[str, Any], pace: Pace) -> datetime:
    """When the next notice of an intervention is due."""
    first = row["opened_at"] if row["alerted_at"] is None else _reminder_at(row, pace)
    return first if row["escalated_at"] else min(first, _escalation_at(row, pace))


def _reminder_at(row: Mapping[str, Any], pace: Pace) -> datetime:
    # From the last one that was accepted: after an outage nobody gets a week's reminders at once.
    if row["reminded_at"] is None:
        first: datetime = row["alerted_at"] + timedelta(seconds=pace.remind_after)
        return first
    again: datetime = row["reminded_at"] + timedelta(seconds=pace.remind_every)
    return again


def _escalation_at(row: Mapping[str, Any], pace: Pace) -> datetime:
    escalated: datetime = row["opened_at"] + timedelta(seconds=pace.escalate_after)
    return escalated


def _alert(row: Mapping[str, Any], at: datetime) -> Notice:
    letter = {"to": ON_CALL, "template": f"intervention_{row['kind']}"}
    return Notice(f"{row['id']}/alert", letter, {"alerted_at": at})


def _reminder(row: Mapping[str, Any], at: datetime) -> Notice:
    number = row["reminders"] + 1
    letter = {"to": ON_CALL, "template": "intervention_reminder", "about": row["id"]}
    return Notice(
        f"{row['id']}/remind/{number}",
        letter,
        {"reminders": number, "reminded_at": at},
        before=f"{row['id']}/remind/{number - 1}" if number > 1 else None,
    )


def _escalation(row: Mapping[str, Any], pace: Pace, at: datetime) -> Notice:
    letter = {"to": pace.escalate_to, "template": "intervention_escalation", "about": row["id"]}
    return Notice(f"{row['id']}/escalate", letter, {"escalated_at": at})
