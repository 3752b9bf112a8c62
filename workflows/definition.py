"""What a workflow is to the rest of the application, and how every run of one begins and ends.

One file of this folder is one workflow, and the only place that knows it: whatever else has to
know something of it (the API, the relay, the audit, the views, the replay) reads its definition.

The record is the input: a run asks the record that was accepted under the engine's name for it,
and takes input and version from there. Whoever reaches the sidecar can start anything with any
input; nothing of that input is believed. A run that the record does not know has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Literal

from dapr.ext.workflow import DaprWorkflowContext
from pydantic import BaseModel

from workflows.inputs import Input
from workflows.instance import End, Instance, Renewed, Yields
from workflows.saga import Saga
from workflows.steps import Step, Undo

WorkflowFunction = Callable[[Any, Any], Generator[Any, Any, str]]
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Late:
    """What an event means that comes after the end of its instance.

    A person is asked where it `contradicts` the outcome. Where everything was undone, what came
    late under the key of the step `undoes` is taken back once more, as that step is; after an
    outcome that is neither done nor undone, a person is asked: a machine takes nothing back that it
    does not know.
    """

    contradicts: AbstractSet[str] = NONE
    undoes: Step | None = None

    @property
    def undo(self) -> Undo | None:
        """The undo under a name of its own: the run may have sent its own before anything came.

        It has no body, and so is sent even where the input can no longer be read.
        """
        if self.undoes is None or self.undoes.undo is None:
            return None
        return Undo(f"late_{self.undoes.undo.name}", self.undoes.undo.do)


@dataclass(frozen=True)
class States:
    """The words in which people know the states of an instance.

    `steps` has three words for each step: while it runs, when it is done, when it has failed for
    good. `pending` is said before the first, and `down` on the way back; at the end the outcome.
    """

    pending: str
    down: str
    steps: Mapping[str, tuple[str, str, str]]

    def word(
        self, step: str | None, *, done: bool, failed: bool, down: bool, outcome: str | None
    ) -> str:
        """The state of an instance whose latest step is `step`, as in its key."""
        if outcome or step is None:
            return outcome or self.pending
        if down:
            return self.down
        words = self.steps.get(step.split("/")[0])
        return words[2 if failed else 1 if done else 0] if words else self.pending


@dataclass(frozen=True)
class Acceptance:
    """What the server adds to a start when it accepts it.

    `fixed` belongs to the input from then on, `audit` is noted in the audit trail, once, and `id`
    is the instance's where the caller named neither an id nor a key. Where it matters who asks,
    the same start of somebody else is another one: `asked_by`.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    asked_by: str | None = None
    audit: Mapping[str, Any] | None = None
    id: str | None = None


def _as_it_is(request: Any, subject: str, rules: Any) -> Acceptance:
    return Acceptance()


def _any_callback(input: Mapping[str, Any], source: str, data: Mapping[str, Any]) -> None:
    return None


@dataclass(frozen=True)
class Workflow:
    """One version of a kind of workflow, with everything that is known of it.

    - `path` is where the API starts one, `input` what it validates with; `request`, where the
      server adds to it, is the part that the caller sends. `starters` are the roles that may, and
      `accept` says what the server adds, given the caller's subject and, where there are `rules`,
      the setting that is called as the kind
    - `body` is the code; it takes a `helper`, which begins and ends every run, and the input
    - `steps` is the table of what is undone in reverse; `others` are the steps outside of it
    - by an outcome in `done` everything stands, by one in `undone` everything was taken back;
      `late` says what events mean that come after it
    - `hears` are the providers whose callbacks mean something to it; `objection` says why one of
      them, given the input, the source and the data, means nothing here
    - `audited` is the step that takes money: the audit holds the provider's list against it
    - `states` are the words for its states, where it has any of its own
    - `revocable`: what was done may be undone on request, after the end
    - `eternal`: it goes on until it is told to stop, and has no step to undo
    - `carried` is what a generation hands on to the next; all else comes from the record
    - `latest`: new instances run this version
    """

    kind: str
    version: str
    path: str
    input: type[Input]
    body: Callable[[Any, Any], Yields[End]]
    done: AbstractSet[str]
    undone: AbstractSet[str] = NONE
    steps: tuple[Step, ...] = ()
    others: tuple[Step, ...] = ()
    late: Mapping[str, Late] = field(default_factory=dict)
    hears: AbstractSet[str] = NONE
    objection: Callable[[Mapping[str, Any], str, Mapping[str, Any]], str | None] = _any_callback
    audited: Step | None = None
    states: States | None = None
    request: type[Input] | None = None
    starters: AbstractSet[str] = frozenset({"requester", "operator"})
    accept: Callable[[Any, str, Any], Acceptance] = _as_it_is
    rules: type[BaseModel] | None = None
    revocable: bool = False
    eternal: bool = False
    helper: type[Instance] = Saga
    carried: tuple[str, ...] = ()
    latest: bool = True

    def made_of(self, type: str, outcome: str) -> Literal["nothing", "undo", "ask"]:
        """What is to be made of an event of this type that came after this outcome."""
        late = self.late.get(type)
        if late is None:
            return "nothing"
        if outcome in late.contradicts:
            return "ask"
        if late.undo is None or outcome in self.done:
            return "nothing"
        return "undo" if outcome in self.undone else "ask"


def function(workflow: Workflow, workflows: Sequence[Workflow]) -> WorkflowFunction:
    """What the engine runs: begins, goes on with the code that the record names, and ends.

    The engine cannot be told which version to schedule. A second run is therefore a run of the
    newest one that finds the version of the first in the record, and takes its path.
    """
    known = {each.version: each for each in workflows if each.kind == workflow.kind}

    def run(ctx: DaprWorkflowContext, given: Any) -> Yields[str]:
        instance = workflow.helper(ctx)
        permit = yield from instance.begin(workflow.kind, workflow.version)
        if not permit.proceed:
            return permit.outcome or "NOT_ACCEPTED"
        version = permit.version or workflow.version
        if version not in known:
            raise LookupError(f"{workflow.kind} {version} is not registered")
        taken = known[version]
        handed_on = given if isinstance(given, Mapping) else {}
        # Histories from before the record was the input have none but the engine's.
        input = taken.input.accepted(handed_on if permit.input is None else permit.input)
        carried = {name: handed_on[name] for name in taken.carried if name in handed_on}
        instance.equip(input, taken.steps, taken.others, carried)
        try:
            end = yield from taken.body(instance, input)
        except Renewed as renewed:
            ctx.continue_as_new({**handed_on, **renewed.handed_on}, save_events=True)
            return "CONTINUED"
        return (yield from instance.end(end))

    run.__name__ = workflow.kind
    return run
