"""What a workflow is to the rest of the application, and how every run of one begins and ends.

The record is the input: a run asks the record that was accepted under the engine's name for it,
and takes input and version from there. Whoever reaches the sidecar can start anything with any
input; nothing of that input is believed. A run that the record does not know has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapr.ext.workflow import DaprWorkflowContext
from pydantic import BaseModel

from workflows.instance import Instance, Renewed, Yields
from workflows.saga import Saga, Step

WorkflowFunction = Callable[[Any, Any], Generator[Any, Any, str]]


@dataclass(frozen=True)
class Version:
    """One version of a workflow: its code, its input, and its steps in order.

    `hears` are the providers whose callbacks mean something to it. `carried` is what a generation
    hands on to the next; all else comes from the record.
    """

    kind: str
    name: str
    body: Callable[[Any, Any], Yields[str]]
    input: type[BaseModel]
    latest: bool = True
    steps: Callable[[Any], Sequence[Step]] = lambda _: ()
    helper: type[Instance] = Saga
    carried: tuple[str, ...] = ()
    hears: frozenset[str] = frozenset()


def function(version: Version, versions: Sequence[Version]) -> WorkflowFunction:
    """What the engine runs: begins, and goes on with the code that the record names.

    The engine cannot be told which version to schedule. A second run is therefore a run of the
    newest one that finds the version of the first in the record, and takes its path.
    """
    known = {each.name: each for each in versions if each.kind == version.kind}

    def run(ctx: DaprWorkflowContext, given: Any) -> Yields[str]:
        instance = version.helper(ctx)
        beginning = yield from instance.begin(version.kind, version.name)
        if not beginning.proceed:
            return beginning.outcome or "NOT_ACCEPTED"
        name = beginning.version or version.name
        if name not in known:
            raise LookupError(f"{version.kind} {name} is not registered")
        taken = known[name]
        carried = given if isinstance(given, Mapping) else {}
        # Histories from before the record was the input have none but the engine's.
        accepted = carried if beginning.input is None else beginning.input
        handed_on = {name: carried[name] for name in taken.carried if name in carried}
        input = taken.input.model_validate({**accepted, **handed_on})
        instance.equip(input, taken.steps(input))
        try:
            return (yield from taken.body(instance, input))
        except Renewed as renewed:
            ctx.continue_as_new({**carried, **renewed.handed_on}, save_events=True)
            return "CONTINUED"

    run.__name__ = version.kind
    return run
