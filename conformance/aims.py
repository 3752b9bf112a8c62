"""How an instance is brought to meet its fault: rules for the gate and for the witness."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from conformance.crowd import Member
from conformance.points import Course, script
from conformance.scenario import (
    DUPLICATE,
    NOTHING,
    OUTAGES,
    PROCESS_FAULTS,
    Fault,
    Point,
    Scenario,
)

# What the witness does for an outage. A client's own timeout ends `timeout`; `lost` commits.
OUTAGE_RULES: dict[str, dict[str, Any]] = {
    "5xx": {"then": {"status": 503}, "attempts": [1]},
    "timeout": {"then": {"hang": True}, "attempts": [1]},
    "lost": {"then": {"drop": True}, "attempts": [1]},
    "slow": {"then": {"delay": 2.0}, "attempts": [1]},
}


@dataclass(frozen=True)
class Aim:
    """The rules that make one instance meet its fault at its point."""

    gate: list[dict[str, Any]] = field(default_factory=list)
    witness: list[dict[str, Any]] = field(default_factory=list)
    fault: dict[str, Any] | None = None


def holds(fault: Fault) -> bool:
    """Whether instances are held at their points, to be struck together."""
    return fault.kind in (*PROCESS_FAULTS, "refused")


def points_for(course: Course, fault: Fault) -> list[Point]:
    """The points of a path at which a fault makes sense."""
    decided = {point.name for point in course.points if point.name.endswith(":after")}
    effects = [
        point
        for point in course.points
        if point.name.endswith(":before") and point.name.replace(":before", ":after") in decided
    ]
    if fault == NOTHING:
        return [Point("client:start", "start")]
    if fault == DUPLICATE:
        crossing = [
            point
            for point in course.points
            if not point.at_witness and point.boundary in ("request", "dispatch", "completion")
        ]
        signals = [
            Point(f"client:signal-{n}", f"signal {n}") for n, _ in enumerate(course.path.signals, 1)
        ]
        return [Point("client:start", "start"), *signals, *crossing]
    if fault.kind in OUTAGES:
        return effects
    return list(course.points)


def aim(scenario: Scenario, member: Member) -> Aim:
    """The rules for one instance; its path's own script comes behind them."""
    point, fault = scenario.point, scenario.fault
    own = script(member)
    if point.at_witness:
        stage = point.boundary
        if fault.kind in OUTAGE_RULES:
            rule = {"match": _match(point, member), **OUTAGE_RULES[fault.kind]}
            return Aim(witness=[rule, *own], fault=rule)
        return Aim(witness=[*_held(point, member, own, stage), *own])
    if fault == NOTHING or point.name.startswith("client:") or point.boundary == "acknowledged":
        return Aim(witness=own)
    action = "duplicate" if fault == DUPLICATE else "hold"
    rule = {"instance": member.id, "point": point.name, "action": action}
    return Aim(gate=[rule], witness=own, fault=rule)


def _held(
    point: Point, member: Member, own: list[dict[str, Any]], stage: str
) -> list[dict[str, Any]]:
    """A request meets only one rule, so the hold is added to whatever the path wants of it."""
    match = _match(point, member)
    alike = [rule for rule in own if _covers(rule["match"], match)]
    if not alike:
        return [{"match": match, "then": {"hold": stage}}]
    return [{**rule, "match": match, "then": {**rule["then"], "hold": stage}} for rule in alike]


def _match(point: Point, member: Member) -> dict[str, str]:
    operation = point.name.split(":")[1]
    match = {"instance": member.id, "operation": operation}
    if point.key is not None:
        match["key"] = point.key.replace("{id}", member.id)
    return match


def _covers(rule: dict[str, Any], match: dict[str, str]) -> bool:
    return all(match.get(name) == wanted for name, wanted in rule.items() if name != "method")
