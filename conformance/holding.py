"""Instances on the way to their points: who is held, who has been, and when waiting is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conformance.aims import Aim
from conformance.client import Witness
from conformance.crowd import Member
from conformance.scenario import Scenario

HOLDING = 90.0  # seconds until everybody must be at its point
STALLED = 6.0  # seconds without any movement after which who has not come is left for later
LATE = 15.0  # seconds without an arrival, although some still move: a poll never stops moving
SLOWER = 1.5  # times that a crowd takes of what a dry run took
POLL = 0.25  # seconds between looks at who is held


@dataclass(eq=False)
class Aimed:
    """One instance of a batch. It has `arrived` once it was held, even if it no longer is."""

    scenario: Scenario
    member: Member
    aim: Aim
    held: bool = False
    arrived: bool = False
    rule: str | None = None
    before_repeat: list[dict[str, Any]] | None = None


async def hold_all(aimed: Sequence[Aimed], witness: Witness) -> None:
    """Waits until all have come to their points, or until no more of them get there.

    Whose caller has given up meanwhile is not held when it strikes, and is sent again.
    """
    moved_at = arrived_at = time.monotonic()
    deadline = moved_at + HOLDING
    moves = arrivals = 0
    while True:
        at_witness = await witness.held()
        for each in aimed:
            each.held = _is_held(each, at_witness)
            each.arrived = each.arrived or each.held
        awaited = [each for each in aimed if not each.arrived and not each.member.ended]
        now = time.monotonic()
        came, moved = arrivals, moves
        arrivals = len(aimed) - len(awaited)
        moves = arrivals + sum(each.member.seen.turns for each in aimed)
        moved_at = now if moves > moved else moved_at
        arrived_at = now if arrivals > came else arrived_at
        if not awaited or now > deadline:
            return
        silence = max(each.scenario.point.silence for each in awaited)
        way = max(each.scenario.point.after for each in awaited)
        if now - moved_at > max(STALLED, SLOWER * silence):
            return
        if now - arrived_at > max(LATE, SLOWER * way):
            return
        await asyncio.sleep(POLL)


def _is_held(each: Aimed, at_witness: set[tuple[str, str]]) -> bool:
    point = each.scenario.point
    if point.at_witness:
        return (each.member.id, point.boundary) in at_witness
    if point.boundary == "acknowledged":
        return each.member.seen.ended is not None
    return each.member.seen.held == point.name
