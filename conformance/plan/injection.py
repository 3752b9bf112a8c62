"""How an instance is brought to meet its fault: rules for the gate and for the witness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from conformance.plan.contract import WorkflowPath
from conformance.plan.points import Point

RuleBody = dict[str, Any]


@dataclass(frozen=True)
class Injection:
    """What makes one instance meet its fault at its point, and by what that is proven.

    `proof` is `held` (it stood at its point when the fault was injected), `gate` or `witness` (the
    first rule there fired), `client` (what `repeat` names was sent twice: `client:start` or
    `client:signal-N`), or `none`: nothing is done to it.
    """

    proof: Literal["held", "gate", "witness", "client", "none"]
    gate: tuple[RuleBody, ...] = ()
    witness: tuple[RuleBody, ...] = ()
    repeat: str | None = None


def script(path: WorkflowPath, instance: str) -> tuple[RuleBody, ...]:
    """The rules of the witness that make an instance take its path."""
    rules = []
    for rule in path.script:
        match = {**rule.get("match", {}), "instance": instance}
        if "key" in match:
            match["key"] = match["key"].replace("{id}", instance)
        rules.append({**rule, "match": match})
    return tuple(rules)


def hold(point: Point, path: WorkflowPath, instance: str) -> Injection:
    """Holds an instance at a point until it is released."""
    own = script(path, instance)
    if point.at_witness:
        return Injection("held", witness=(*_held(point, instance, own), *own))
    if point.boundary == "acknowledged":
        # Nothing crosses here any more: it is enough that the gate has seen it.
        return Injection("held", witness=own)
    return Injection("held", (_at_gate(point, instance, "hold"),), own)


def at_gate(point: Point, path: WorkflowPath, instance: str, action: str) -> Injection:
    """Lets the gate do something to the message at a point; see `conformance.gates.rules`."""
    return Injection("gate", (_at_gate(point, instance, action),), script(path, instance))


def at_witness(
    point: Point, path: WorkflowPath, instance: str, then: Mapping[str, Any]
) -> Injection:
    """Lets the witness do something to the first attempt of an effect, before its path's script."""
    rule = {"match": _match(point, instance), "then": dict(then), "attempts": [1]}
    return Injection("witness", witness=(rule, *script(path, instance)))


def sent_twice(point: Point, path: WorkflowPath, instance: str) -> Injection:
    """Lets the client send its start or a signal twice."""
    return Injection("client", witness=script(path, instance), repeat=point.name)


def untouched(path: WorkflowPath, instance: str) -> Injection:
    """Lets an instance take its path."""
    return Injection("none", witness=script(path, instance))


def _at_gate(point: Point, instance: str, action: str) -> RuleBody:
    return {"instance": instance, "point": point.name, "action": action}


def _held(point: Point, instance: str, own: tuple[RuleBody, ...]) -> list[RuleBody]:
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


def _covers(rule: RuleBody, match: dict[str, str]) -> bool:
    return all(match.get(name) == wanted for name, wanted in rule.items() if name != "method")
