"""Every side effect of every workflow, by the name that workflows call it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from activities import approval, health, pending, record
from activities.effect import Activity, effect
from activities.operations import OPERATIONS
from workflows import Workflow
from workflows.steps import Step, nothing

__all__ = ["ACTIVITIES", "flaws"]

# What a workflow may call beside the operations of providers.
OWN: dict[str, Activity] = {
    "approval.ask": approval.ask,
    "health.plan": health.plan,
    "health.check": health.check,
    "health.compare": health.compare,
    "health.alert": health.alert,
    "health.ask": health.ask,
    "ml.poll_training": pending.ask,
    "provider.look_up": pending.ask,
    "record.begin": record.begin,
    "record.turn": record.turn,
    "record.hold": record.hold,
    "record.take": record.take,
    "record.open_intervention": record.open_intervention,
    "record.read_resolution": record.read_resolution,
    "record.end": record.end,
}
ACTIVITIES: dict[str, Activity] = {**{name: effect(name) for name in OPERATIONS}, **OWN}


def flaws(workflows: Iterable[Workflow]) -> list[str]:
    """What is wrong with these definitions: names that nothing answers to, or that are taken."""
    workflows = tuple(workflows)
    return _taken_twice(workflows) + [
        f"{workflow.kind} {workflow.version}: {flaw}"
        for workflow in workflows
        for flaw in (*_of_steps(workflow), *_of_outcomes(workflow))
    ]


def _taken_twice(workflows: Sequence[Workflow]) -> list[str]:
    new = [each for each in workflows if each.latest]
    claims = {
        "is the kind": [each.kind for each in new],
        "is the path": [each.path for each in new],
        "is the version": [f"{each.kind} {each.version}" for each in workflows],
    }
    old = {each.kind for each in workflows} - {each.kind for each in new}
    return [f"{kind} has no latest version: nothing starts it" for kind in sorted(old)] + [
        f"{name} {what} of two definitions"
        for what, names in claims.items()
        for name, count in Counter(names).items()
        if count > 1
    ]


def _of_steps(workflow: Workflow) -> Iterator[str]:
    names: set[str] = set()
    for step in workflow.steps:
        for name in (step.name, *([step.undo.name] if step.undo else ())):
            if name in names:
                yield f"two steps or undos are called {name}"
            names.add(name)
    for step in (*workflow.steps, *workflow.others):
        yield from _of_step(step)
    for step in workflow.others:
        if step.undo is not None:
            yield f"{step.name} has an undo, and stands in no table that is undone"
        if step.name in names:
            yield f"{step.name} is the name of a step or an undo of the table, and so of its key"


def _of_step(step: Step) -> Iterator[str]:
    called = [step.do, *([step.undo.do] if step.undo else ())]
    if step.settling.event is None:
        called.append(step.settling.ask)
    for name in called:
        if name not in ACTIVITIES:
            yield f"{step.name} calls {name}, which is no declared operation and no activity"
    if step.undo is not None and step.do in OPERATIONS and step.undo.do != OPERATIONS[step.do]:
        yield f"{step.undo.name} calls {step.undo.do}, which does not undo {step.do}"


def _of_outcomes(workflow: Workflow) -> Iterator[str]:
    if both := workflow.done & workflow.undone:
        yield f"{', '.join(sorted(both))} cannot mean both done and undone"
    taken = {each.name for each in workflow.steps}
    taken |= {each.undo.name for each in workflow.steps if each.undo}
    for type, late in workflow.late.items():
        if type.partition(".")[0] not in workflow.hears:
            yield f"{type} never comes: no callback of its source is heard"
        if strange := late.contradicts - workflow.done - workflow.undone:
            yield f"{type} contradicts {', '.join(sorted(strange))}, which is no outcome"
        step, undo = late.undoes, late.undo
        if step is not None and (step not in workflow.steps or step.numbered):
            yield f"{type} undoes {step.name}, which is no step of the table with one key"
        if step is not None and step.undo is None:
            yield f"{type} undoes {step.name}, which has no undo"
        if step is not None and step.undo and step.undo.body is not nothing:
            yield f"{step.undo.name} has a body, which would not be sent"
        if undo is not None and undo.name in taken:
            yield f"{undo.name} is a name of the table already: nothing would be sent"
    audited = workflow.audited
    if audited and (audited not in workflow.steps or audited.undo is None):
        yield f"{audited.name} is audited, and no step of the table that can be undone"
