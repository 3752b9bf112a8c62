"""How hard a schedule is: what it excuses, and by how much it may delay things."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from simulation.schedule import (
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
    StoreAway,
)

PATIENCE = 60.0  # seconds of an outage that every step has to outlive unnoticed
FIVE_TRIES = 40.0  # the same, of a deployment: it has five tries, and then a person is asked
USUAL = 900.0  # seconds by which everything may be late: retries, the ladder, a lease
# An engine that is away or slow is no reason to fail a step, nor is a replica that is gone.
OUTAGES = (Script, StoreAway)
FAULTS = {"status", "hang", "drop", "commit_then_status", "commit_then_hang", "delay"}


@dataclass(frozen=True)
class Strain:
    """What a schedule does to the instances under way.

    `harsh`: a provider or store that it needs was away for longer than a step is patient, so a step
    may have failed.
    `damaged`: how often the engine may have lost or broken it, so that the ladder had to climb.
    `away`: seconds for which there was no engine, at most at a time.
    `delay` and `skew` are seconds: by how much things may be late, and how far apart two clocks
    may be.
    """

    harsh: bool
    damaged: int
    away: float
    delay: float
    skew: float


def strain(
    schedule: Schedule,
    fired: Sequence[int],
    id: str = "",
    operations: Collection[str] | None = None,
    patience: float = PATIENCE,
) -> Strain:
    """What a schedule excuses, of an instance that has tried these operations; by default any.

    `fired` is how often each disturbance fired, `patience` how many seconds of an outage an
    instance has to outlive.
    """
    every = schedule.disturbances
    met = [one for one, count in zip(every, fired, strict=True) if count]
    jumps = sum(abs(one.by) for one in every if isinstance(one, ClockJump))
    skews = max(map(abs, schedule.skews), default=0.0)
    return Strain(
        harsh=any(
            _lasting(one) > patience and _concerns(one, operations)
            for one in every
            if isinstance(one, OUTAGES)
        ),
        damaged=sum(_damages(one, id) for one in met),
        away=max((one.lasts for one in every if isinstance(one, Away)), default=0.0),
        delay=USUAL + 2 * sum(map(_lasting, every)),
        skew=1.0 + 2 * skews + jumps,
    )


def is_story(disturbance: Disturbance) -> bool:
    """Whether it belongs to the story of an instance: a provider that behaves as it was drawn."""
    return isinstance(disturbance, Script) and _aim(disturbance) is not None


def _aim(script: Script) -> str | None:
    match = script.rule.get("match", {})
    key = match.get("key")
    return match.get("instance") or (key.split("/")[0] if key else None)


def instance_of(disturbance: Disturbance) -> str | None:
    """The instance whose story a disturbance belongs to."""
    return _aim(disturbance) if isinstance(disturbance, Script) else None


def _lasting(one: Disturbance) -> float:
    """Seconds for which something is away."""
    match one:
        case Script() if is_story(one) or not FAULTS & one.rule["then"].keys():
            return 0.0
        case Script():
            return one.lasts or 40 * 86_400.0
        case Away() | StoreAway() | Pause() | Slow():
            return one.lasts
        case Crash():
            return one.down
        case Message():
            return one.count * one.seconds
        case _:
            return 0.0


def _concerns(one: Disturbance, operations: Collection[str] | None) -> bool:
    """Whether what is away is needed for these operations."""
    if operations is None or not isinstance(one, Script):
        return True
    operation = one.rule.get("match", {}).get("operation")
    return operation is None or operation in operations


def _damages(one: Disturbance, id: str) -> bool:
    match one:
        case Amnesia():
            return one.fault in ("unreadable", "forgotten") and one.instance in id
        case Misdelivery():
            lost = one.item == "activity" and one.fault == "lost"
            return (lost or one.fault in ("failed", "stale")) and one.instance in id
        case _:
            return False
