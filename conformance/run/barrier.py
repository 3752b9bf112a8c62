"""Instances on the way to their points: who is held, who has been, and when waiting is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conformance.clients import WitnessClient
from conformance.plan.injection import Injection
from conformance.plan.scenario import Scenario
from conformance.run.trial import Trial

HOLDING = 90.0  # seconds until everybody must be at its point
STALLED = 6.0  # seconds without any movement after which who has not come is left for later
LATE = 15.0  # seconds without an arrival, although some still move: a poll never stops moving
SLOWER = 1.5  # times that a batch takes of what a dry run took
POLL = 0.25  # seconds between looks at who is held


@dataclass(eq=False)
class Case:
    """A scenario of a batch and the trial that plays it.

    It has `arrived` once its instance was held, even if it no longer is. `rule` is the id of the
    witness's rule that is its fault.
    """

    scenario: Scenario
    trial: Trial
    injection: Injection
    held: bool = False
    arrived: bool = False
    rule: str | None = None
    before_repeat: list[dict[str, Any]] | None = None


async def until_held(cases: Sequence[Case], witness: WitnessClient) -> None:
    """Waits until all have come to their points, or until no more of them get there.

    Whose caller has given up meanwhile is not held at the moment of the fault, and is sent again.
    """
    moved_at = arrived_at = time.monotonic()
    deadline = moved_at + HOLDING
    moves = arrivals = 0
    while True:
        at_witness = await witness.held()
        for each in cases:
            each.held = _is_held(each, at_witness)
            each.arrived = each.arrived or each.held
        awaited = [each for each in cases if not each.arrived and not each.trial.ended]
        now = time.monotonic()
        came, moved = arrivals, moves
        arrivals = len(cases) - len(awaited)
        moves = arrivals + sum(each.trial.gate.view.turns for each in cases)
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


def _is_held(case: Case, at_witness: set[tuple[str, str]]) -> bool:
    point, view = case.scenario.point, case.trial.gate.view
    if point.at_witness:
        return (case.trial.id, point.boundary) in at_witness
    if point.boundary == "acknowledged":
        return view.ended is not None
    return view.held == point.name
