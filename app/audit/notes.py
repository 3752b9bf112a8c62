"""From charges to verdicts to rows: what sweep and refunds do alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.payment import ListedCharge
from app.audit.verdict import LONGEST_KEY, Verdict, judge, possible
from store import findings, records

NAME = "audit"  # of the lease, the cursor, and the intervention


def subject(charge: ListedCharge) -> tuple[str, str]:
    """Key and instance as they are stored: what cannot be ours is not kept as it came."""
    key = charge.key
    if len(key) > LONGEST_KEY:
        key = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return key, charge.instance if possible(charge.instance) else "-"


async def judged(
    tx: AsyncConnection, subjects: Mapping[str, str], patience: timedelta
) -> list[tuple[str, str, Verdict]]:
    """Key, instance and verdict of each charge, in two queries for all of them."""
    ids = {instance for instance in subjects.values() if possible(instance)}
    known = await findings.accounts(tx, ids)
    settled = await findings.settled_by_hand(tx, ids)
    before = records.now() - patience
    return [
        (key, id, judge(key, id, known.get(id), settled.get(id, ()), before))
        for key, id in subjects.items()
    ]


def row_of(
    key: str, instance: str, verdict: Verdict, at: datetime, look_at: datetime
) -> dict[str, Any]:
    """The finding that a verdict makes; one that waits is looked at again at `look_at`."""
    states = {"wait": ("waiting", look_at), "ask": ("found", None), "refund": ("owed", at)}
    state, again = states[verdict.word]
    return {
        "key": key,
        "instance": instance,
        "why": verdict.why,
        "found_at": at,
        "state": state,
        "look_at": again,
    }
