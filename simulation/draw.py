"""Draws schedules: some instances with their stories, and what disturbs them.

The source of chance decides how it is drawn: a seeded generator for thousands of schedules,
Hypothesis where a failing one is to be shrunk. Both draw from the same stories and disturbances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from simulation.schedule import (
    DAY,
    HOUR,
    Amnesia,
    Away,
    ClockJump,
    Crash,
    Disturbance,
    Message,
    Misdelivery,
    Pause,
    Schedule,
    Script,
    Slow,
    Stop,
    StoreAway,
    Wedge,
)
from simulation.stories import STORIES, Plot

REPLICAS = 2
MOST = 4  # disturbances of a schedule
POINTS = (
    "begin",
    "statement",
    "commit",
    "committed",
    "request",
    "response",
    "activity",
    "completion",
    "turn",
    "decided",
    "call",
    "called",
    "serve",
)
OPERATIONS = (
    "payment.charge",
    "payment.refund",
    "inventory.reserve",
    "inventory.release",
    "carrier.create_shipment",
    "carrier.cancel_shipment",
    "notifier.send",
    "directory.create_record",
    "directory.reserve_capacity",
    "ml.train",
    "ml.push_artifact",
    "signing.send",
    "signing.void",
    "approval.execute",
)
# What a provider may do to a request, and for how long everybody has to be patient.
FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 503},
    {"status": 429},
    {"hang": True},
    {"drop": True},
    {"commit_then_status": 500},
    {"commit_then_hang": True},
    {"delay": 12},
)


def _replica(rng: Random) -> int:
    return rng.randrange(REPLICAS)


def _crash(rng: Random, at: float) -> Disturbance:
    down = rng.choice((0.5, 2.0, 20.0, 300.0))
    if rng.random() < 0.3:
        return Crash(replica=_replica(rng), at=at, down=down)
    point, nth = rng.choice(POINTS), rng.randint(1, 12)
    return Crash(replica=_replica(rng), at=at, point=point, nth=nth, down=down)


def _pause(rng: Random, at: float) -> Disturbance:
    lasts = rng.choice((5.0, 20.0, 45.0, 120.0))
    if rng.random() < 0.3:
        return Pause(replica=_replica(rng), at=at, lasts=lasts)
    point, nth = rng.choice(POINTS), rng.randint(1, 12)
    return Pause(replica=_replica(rng), at=at, point=point, nth=nth, lasts=lasts)


def _stop(rng: Random, at: float) -> Disturbance:
    return Stop(replica=_replica(rng), at=at, down=rng.choice((0.5, 1.0, 30.0)))


def _message(rng: Random, at: float) -> Disturbance:
    return Message(
        link=rng.choice(("client", "engine", "provider", "webhook")),
        fault=rng.choice(("lose_request", "lose_response", "delay", "repeat")),
        at=at,
        nth=rng.randint(1, 5),
        count=rng.randint(1, 3),
        seconds=rng.choice((0.1, 1.0, 9.0, 15.0)),
    )


def _misdelivery(rng: Random, at: float) -> Disturbance:
    fault = rng.choice(("twice", "twice", "lost", "stale", "failed"))
    item = "turn" if fault in ("stale", "failed") else rng.choice(("turn", "activity"))
    return Misdelivery(item=item, fault=fault, at=at, nth=rng.randint(1, 10))


def _amnesia(rng: Random, at: float) -> Disturbance:
    return Amnesia(fault=rng.choice(("unreadable", "forgotten", "again")), at=at)


def _slow(rng: Random, at: float) -> Disturbance:
    return Slow(at=at, lasts=rng.choice((60.0, 600.0, HOUR)), rate=rng.choice((0.1, 0.5, 2.0)))


def _away(rng: Random, at: float) -> Disturbance:
    manner = rng.choice(("unavailable", "hangs", "unknown"))
    lasts = HOUR if rng.random() < 0.1 else rng.choice((5.0, 30.0, 300.0))
    return Away(at=at, lasts=lasts, manner=manner)


def _wedge(rng: Random, at: float) -> Disturbance:
    return Wedge(replica=_replica(rng), at=at)


def _script(rng: Random, at: float) -> Disturbance:
    lasts = rng.choice((2.0, 10.0, 30.0, 55.0, 780.0, DAY))
    rule = {"match": {"operation": rng.choice(OPERATIONS)}, "then": rng.choice(FAULTS)}
    return Script(rule=rule, at=at, lasts=lasts)


def _store_away(rng: Random, at: float) -> Disturbance:
    return StoreAway(at=at, lasts=rng.choice((1.0, 10.0, 40.0)))


def _clock_jump(rng: Random, at: float) -> Disturbance:
    return ClockJump(
        replica=_replica(rng), at=at, by=rng.choice((-60.0, -5.0, -1.0, 1.0, 5.0, 60.0))
    )


DISTURBANCES: Mapping[str, Callable[[Random, float], Disturbance]] = {
    "crash": _crash,
    "pause": _pause,
    "stop": _stop,
    "message": _message,
    "misdelivery": _misdelivery,
    "amnesia": _amnesia,
    "slow": _slow,
    "away": _away,
    "wedge": _wedge,
    "script": _script,
    "store_away": _store_away,
    "clock_jump": _clock_jump,
}


def draw(
    rng: Random,
    stories: Sequence[str] = tuple(STORIES),
    disturbances: Sequence[str] = tuple(DISTURBANCES),
    most: int = MOST,
) -> Schedule:
    """A schedule of some of these stories and disturbances."""
    weights = [STORIES[name].weight for name in stories]
    count = rng.choices((1, 2, 3), (6, 3, 1))[0]  # most of what goes wrong needs no other
    names = rng.choices(stories, weights, k=count)
    kinds = rng.choices(disturbances, k=rng.randint(0, most)) if disturbances else []
    return compose(rng, names, kinds)


def compose(rng: Random, names: Sequence[str], kinds: Sequence[str]) -> Schedule:
    """A schedule of exactly these stories and kinds of disturbances."""
    plots = []
    for number, name in enumerate(names):
        begins = rng.choice((1.0, round(rng.uniform(1, 5), 3), round(rng.uniform(1, DAY), 3)))
        plot = Plot(f"{name}.{number}", begins, rng)
        STORIES[name].tell(plot)
        plots.append(plot)
    moments = sorted(moment for plot in plots for moment in plot.moments)
    disturbed = [DISTURBANCES[kind](rng, _begins(rng, moments)) for kind in kinds]
    spread = rng.choice((0.0, 0.5, 2.0, 20.0))
    return Schedule(
        seed=rng.randrange(2**31),
        replicas=REPLICAS,
        calls=tuple(call for plot in plots for call in plot.calls),
        disturbances=(*(script for plot in plots for script in plot.scripts), *disturbed),
        skews=tuple(round(rng.uniform(-spread, spread), 3) for _ in range(REPLICAS)),
    )


def _begins(rng: Random, moments: Sequence[float]) -> float:
    """When something happens, or shortly before or after it."""
    at = rng.choice(moments) + rng.choice((0.0, rng.uniform(-1, 0.5), rng.uniform(-0.5, 3)))
    return max(0.0, round(at, 3))
