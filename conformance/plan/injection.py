"""How an instance is brought to meet its fault: rules for the gate and for the witness."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from conformance.plan.contract import WorkflowPath
from conformance.plan.points import MeasuredPath, Point
from conformance.plan.scenario import (
    DUPLICATE,
    NOTHING,
    OUTAGES,
    PROCESS_FAULTS,
    Fault,
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
class Injection:
    """The rules that make one instance meet its fault at its point."""

    gate: list[dict[str, Any]] = field(default_factory=list)
    witness: list[dict[str, Any]] = field(default_factory=list)
    fault: dict[str, Any] | None = None


def holds(fault: Fault) -> bool:
    """Whether instances are held at their points, to be struck together."""
    return fault.kind in (*PROCESS_FAULTS, "refused")


def points_for(measured: MeasuredPath, fault: Fault) -> list[Point]:
    """The points of a path at which a fault makes sense."""
    decided = {point.name for point in measured.points if point.name.endswith(":after")}
    effects = [
        point
        for point in measured.points
        if point.name.endswith(":before") and point.name.replace(":before", ":after") in decided
    ]
    if fault == NOTHING:
        return [Point("client:start", "start")]
    if fault == DUPLICATE:
        crossing = [
            point
            for point in measured.points
            if not point.at_witness and point.boundary in ("request", "dispatch", "completion")
        ]
        signals = [
            Point(f"client:signal-{n}", f"signal {n}")
            for n, _ in enumerate(measured.path.signals, 1)
        ]
        return [Point("client:start", "start"), *signals, *crossing]
    if fault.kind in OUTAGES:
        return effects
    return list(measured.points)


def script(path: WorkflowPath, instance: str) -> list[dict[str, Any]]:
    """The rules of the witness that make an instance take its path."""
    rules = []
    for rule in path.script:
        match = {**rule.get("match", {}), "instance": instance}
        if "key" in match:
            match["key"] = match["key"].replace("{id}", instance)
        rules.append({**rule, "match": match})
    return rules


def injection(scenario: Scenario, path: WorkflowPath, instance: str) -> Injection:
    """The rules for one instance; its path's own script comes behind them."""
    point, fault = scenario.point, scenario.fault
    own = script(path, instance)
    if point.at_witness:
        if fault.kind in OUTAGE_RULES:
            rule = {"match": _match(point, instance), **OUTAGE_RULES[fault.kind]}
            return Injection(witness=[rule, *own], fault=rule)
        return Injection(witness=[*_held(point, instance, own), *own])
    if fault == NOTHING or point.name.startswith("client:") or point.boundary == "acknowledged":
        return Injection(witness=own)
    action = "duplicate" if fault == DUPLICATE else "hold"
    rule = {"instance": instance, "point": point.name, "action": action}
    return Injection(gate=[rule], witness=own, fault=rule)


def _held(point: Point, instance: str, own: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A request meets only one rule, so the hold is added to whatever the path wants of it."""
    match, stage = _match(point, instance), point.boundary
    alike = [rule for rule in own if _covers(rule["match"], match)]
    if not alike:
        return [{"match": match, "then": {"hold": stage}}]
    return [{**rule, "match": match, "then": {**rule["then"], "hold": stage}} for rule in alike]


def _match(point: Point, instance: str) -> dict[str, str]:
    operation = point.name.split(":")[1]
    match = {"instance": instance, "operation": operation}
    if point.key is not None:
        match["key"] = point.key.replace("{id}", instance)
    return match


def _covers(rule: dict[str, Any], match: dict[str, str]) -> bool:
    return all(match.get(name) == wanted for name, wanted in rule.items() if name != "method")
