"""The one helper of every workflow that changes things: steps, and their undos in reverse.

A saga (Garcia-Molina and Salem, 1987) is a sequence of steps, each with an undo, that ends in one
of two states: everything done, or everything undone. Five rules make that true on an engine that
may run anything twice, and that may lose a run altogether:

- the undo is registered *before* the step is tried: a charge whose response was lost has still
  been charged, so an undo must be harmless where nothing was done;
- every effect carries the key `<id>/<step>`, the same in every attempt, re-dispatch and run;
- refusals are values and turn the saga down; faults are retried, then turn it down;
- the direction `down` is recorded before the first undo: a later run that finds it skips the
  steps and undoes all of them in reverse;
- what cannot be undone becomes an intervention, and the workflow waits for a person.

`instance.py` has what a workflow without undos needs too: effects, waits, interventions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dapr.ext.workflow import DaprWorkflowContext, when_any

from workflows.instance import Abort, Instance, Yields
from workflows.messages import Answer, Direction, Hold, Incident, RetryRule, Turn

# What a step does when every attempt has failed: turn the saga down, ask a person, or wait until
# the reconciliation loop finds that it is worth another try.
OnFailure = Literal["abort", "ask", "wait"]


@dataclass(frozen=True)
class Step:
    """A step, named as in its key, with the activity that does it and the one that undoes it.

    What the undo has to say must be known before the step is tried: a later run that finds the
    saga on its way down has nothing but the input.
    """

    name: str
    do: str
    undo_name: str = ""
    undo: str | None = None
    undo_body: dict[str, Any] = field(default_factory=dict)
    on_failure: OnFailure = "abort"


@dataclass(frozen=True)
class Outcome:
    """How the steps ended: all `done`, or all undone; and why, where there is a reason."""

    done: bool
    reason: str | None = None
    refused: bool = False


class Saga(Instance):
    """One run of a saga: an instance whose steps are undone in reverse when it aborts."""

    def __init__(
        self, ctx: DaprWorkflowContext, id: str, steps: Sequence[Step], retry: RetryRule
    ) -> None:
        super().__init__(ctx, id, retry)
        self._steps = steps
        self._tried: list[Step] = []

    def run(self, forward: Callable[[], Yields[None]]) -> Yields[Outcome]:
        """Drives `forward` to its end; when it aborts, undoes in reverse what was tried."""
        if self._beginning.direction == "down":
            reason, refused = self._beginning.reason or "turned down", self._beginning.refused
            abort, steps = Abort(reason, refused=refused), list(self._steps)
        else:
            try:
                yield from forward()
                return Outcome(done=True)
            except Abort as raised:
                abort, steps = raised, self._tried
        too_late = yield from self._compensate(abort, steps)
        if too_late:
            return Outcome(done=True, reason=too_late)
        return Outcome(done=False, reason=abort.reason, refused=abort.refused)

    def step(self, step: Step, body: dict[str, Any]) -> Yields[Answer]:
        """Tries one step under its key.

        Raises:
            Abort: the provider refused, or every attempt failed, or somebody cancelled.
        """
        yield from self._stop_if_cancelled()
        self._tried.append(step)
        while True:
            answer = yield from self._effect(step.do, step.name, body)
            match answer.result:
                case "applied" | "pending" | "closed":
                    return answer
                case "refused":
                    raise Abort(answer.reason or f"{step.name} refused", refused=True)
                case "parked":
                    pass
                case "exhausted" | "rejected" if step.on_failure == "ask":
                    pass
                case "exhausted" | "rejected" if step.on_failure == "wait":
                    yield from self._wait_to_be_reconciled(step)
                    continue
                case _:
                    raise Abort(f"{step.name} {answer.result}: {answer.reason or 'no reason'}")
            if (yield from self.ask(step, answer)) == "settled":
                return Answer(result="settled")

    def ask(self, step: Step, answer: Answer) -> Yields[str]:
        """Opens an intervention for a step on the way forward; `retry` or `settled`.

        Raises:
            Abort: somebody cancelled instead.
        """
        return (yield from self._ask(step.name, answer, cancellable=True))

    def must(self, step: Step, body: dict[str, Any]) -> Yields[Answer]:
        """Carries out a step behind the pivot: no way back, so only retry and intervention."""
        while True:
            answer = yield from self._effect(step.do, step.name, body)
            if answer.done:
                return answer
            if (yield from self._ask(step.name, answer)) == "settled":
                return Answer(result="settled")

    def _compensate(self, abort: Abort, steps: Sequence[Step]) -> Yields[str | None]:
        """Undoes in reverse and goes on past a failure; says why, when it turned forward again."""
        yield self._turn("down", abort.reason, refused=abort.refused)
        failed = []
        for step in reversed(steps):
            if step.undo is None:
                continue
            answer = yield from self._undo(step)
            if answer.result == "too_late" and step == self._steps[-1]:
                # Every step stands and nothing has been undone yet: forward is the way out.
                reason = f"too late to undo {step.name} ({abort.reason})"
                yield self._turn("forward", reason)
                return reason
            if not answer.done:
                failed.append((step, (yield from self._open_undo_incident(step, answer))))
        for step, incident in failed:
            while (yield from self._resolution(incident)) == "retry":
                answer = yield from self._undo(step)
                if answer.done:
                    break
                incident = yield from self._open_undo_incident(step, answer)
        return None

    def _wait_to_be_reconciled(self, step: Step) -> Yields[None]:
        yield self._store("record.hold", Hold(instance=self._id, step=step.name))
        yield when_any([self._doorbell("reconcile"), self._doorbell("cancel")])
        self._answer_door("reconcile")
        yield from self._stop_if_cancelled()

    def _undo(self, step: Step) -> Yields[Answer]:
        undoes = f"{self._id}/{step.name}"
        return (
            yield from self._effect(step.undo or "", step.undo_name, step.undo_body, undoes=undoes)
        )

    def _open_undo_incident(self, step: Step, answer: Answer) -> Yields[Incident]:
        return (yield from self._open(step.undo_name, "undo_failed", answer))

    def _turn(self, direction: Direction, reason: str, *, refused: bool = False) -> Any:
        turn = Turn(instance=self._id, direction=direction, reason=reason[:500], refused=refused)
        return self._store("record.turn", turn)
