"""The one helper of every workflow that changes things: steps, and their undos in reverse.

A saga (Garcia-Molina and Salem, 1987) is a sequence of steps, each with an undo, that ends in one
of two states: everything done, or everything undone. Seven rules make that true on an engine that
may run anything twice, and that may lose a run altogether:

- the undo is registered *before* the step is tried: a charge whose response was lost has still
  been charged, so an undo must be harmless where nothing was done;
- every effect carries the key `<id>/<step>`, the same in every attempt, re-dispatch and run; what
  was refused, or never settled, is tried again only when a person says so, as `<id>/<step>/2`;
- refusals are values and turn the saga down; faults are retried, then turn it down;
- pending is not done: a step returns when its effect stands, and what settles later is waited for;
- the direction `down` is recorded before the first undo: a later run that finds it skips the
  steps and undoes all of them in reverse;
- an undo has patience of its own, for hours, and what it cannot undo it keeps for a second round;
- what cannot be undone becomes an intervention, and the workflow waits for a person.

`instance.py` has what a workflow without undos needs too: waits, interventions, the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dapr.ext.workflow import DaprWorkflowContext, when_any

from workflows.instance import Abort, Instance, Yields
from workflows.messages import Answer, Direction, Hold, Incident, RetryRule, Settling, Turn
from workflows.run import patient

# What a step does when every attempt has failed: turn the saga down, ask a person and wait, go on
# and let a person know, or wait until the reconciliation loop finds it worth another try.
OnFailure = Literal["abort", "ask", "tell", "wait"]

ASK = Settling()  # what is pending is asked for, every minute, for a week


@dataclass(frozen=True)
class Step:
    """A step, named as in its key, with the activity that does it and the one that undoes it.

    What the undo has to say must be known before the step is tried: a later run that finds the
    saga on its way down has nothing but the input. A `numbered` step repeats by its nature, and
    its first key has its ordinal too.
    """

    name: str
    do: str
    undo_name: str = ""
    undo: str | None = None
    undo_body: dict[str, Any] = field(default_factory=dict)
    on_failure: OnFailure = "abort"
    settling: Settling = ASK
    numbered: bool = False


@dataclass(frozen=True)
class Outcome:
    """How the steps ended: all `done`, or all undone; and why, where there is a reason."""

    done: bool
    reason: str | None = None
    refused: bool = False


@dataclass(frozen=True)
class Undo:
    """The undo of what a step may have done under one of its keys."""

    step: Step
    name: str
    undoes: str


class Saga(Instance):
    """One run of a saga: an instance whose steps are undone in reverse when it aborts."""

    def __init__(self, ctx: DaprWorkflowContext) -> None:
        super().__init__(ctx)
        self._steps: Sequence[Step] = ()
        self._tried: list[Step] = []
        self._ordinals: Counter[str] = Counter()

    def equip(self, input: Any, steps: Sequence[Step]) -> None:
        """Takes what the accepted input says of how to run, and the steps in their order."""
        super().equip(input, steps)
        self._steps = steps

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
                abort, steps = raised, self._may_stand()
        too_late = yield from self._compensate(abort, steps)
        if too_late:
            return Outcome(done=True, reason=too_late)
        return Outcome(done=False, reason=abort.reason, refused=abort.refused)

    def step(self, step: Step, body: dict[str, Any]) -> Yields[Answer]:
        """Tries one step under its key, and returns when its effect stands.

        Raises:
            Abort: the provider refused, or every attempt failed, or somebody cancelled.
        """
        yield from self._stop_if_cancelled()
        self._tried.append(step)
        while True:
            answer = yield from self._settled(step, body, cancellable=True)
            match answer.result:
                case "applied" | "closed" | "settled":
                    return answer
                case "refused" | "exhausted" | "rejected" if step.on_failure == "tell":
                    yield from self._open(step.name, "step_failed", answer, blocking=False)
                    return answer
                case "refused" if step.on_failure == "abort" or not answer.was_pending:
                    raise Abort(answer.reason or f"{step.name} refused", refused=True)
                case "parked":
                    pass
                case "refused" | "exhausted" | "rejected" if step.on_failure == "ask":
                    pass
                case "exhausted" | "rejected" if step.on_failure == "wait":
                    yield from self._wait_to_be_reconciled(step)
                    continue
                case _:
                    raise Abort(f"{step.name} {answer.result}: {answer.reason or 'no reason'}")
            if (yield from self._ask(step, answer, cancellable=True)) == "settled":
                return Answer(result="settled")

    def must(self, step: Step, body: dict[str, Any]) -> Yields[Answer]:
        """Carries out a step behind the pivot: no way back, so only retry and intervention."""
        while True:
            answer = yield from self._settled(step, body, must=True)
            # A run that another has overtaken is told `undone`, and has nothing to ask anybody.
            if answer.done or answer.result == "undone":
                return answer
            if (yield from self._ask(step, answer)) == "settled":
                return Answer(result="settled")

    def _settled(
        self, step: Step, body: dict[str, Any], *, cancellable: bool = False, must: bool = False
    ) -> Yields[Answer]:
        """Carries out a step, and waits for what settles later; pending for good is exhausted."""
        name, how = self._name(step), step.settling
        call: dict[str, Any] = {"must": must, "next_key": self._key(self._name(step, 1))}
        if how.event is None:
            return (yield from self._effect(step.do, name, body, how, cancellable, **call))
        answer = yield from self._try(step.do, name, body, **call)
        if answer.result != "pending":
            return answer
        event = yield from self.wait(how.event, how.within, (how.done, how.failed))
        if event is None:
            reason = f"{how.event} deadline passed"
            return Answer(result="exhausted", reason=reason, pending_for=how.within)
        failed = event.type == how.failed
        return Answer(result="refused" if failed else "applied", reason=event.type)

    def _ask(self, step: Step, answer: Answer, *, cancellable: bool = False) -> Yields[str]:
        incident = yield from self._open(self._name(step), "step_failed", answer)
        action = yield from self._resolution(incident, cancellable=cancellable)
        self._ordinals[step.name] += action == "retry" and answer.over
        return action

    def _name(self, step: Step, later: int = 0) -> str:
        return _numbered(step.name, 1 + self._ordinals[step.name] + later, step.numbered)

    def _compensate(self, abort: Abort, steps: Sequence[Step]) -> Yields[str | None]:
        """Undoes in reverse and goes on past a failure; says why, when it turned forward again."""
        yield from self._turn("down", abort.reason, refused=abort.refused)
        failed: list[tuple[Undo, Answer, Incident | None]] = []
        for undo in self._undos(steps):
            answer = yield from self._undo(undo, self._retry)
            if answer.result == "too_late" and self._too_late_for_all(undo):
                # Forward is the way out.
                reason = f"too late to undo {undo.step.name} ({abort.reason})"
                yield from self._turn("forward", reason)
                return reason
            if not answer.done:
                # What was refused, patience cannot help.
                hopeless = answer.result != "exhausted" or not self.patched
                incident = (yield from self._open_undo_incident(undo, answer)) if hopeless else None
                failed.append((undo, answer, incident))
        yield from self._insist(failed)
        return None

    def _may_stand(self) -> list[Step]:
        """What was tried, by this run or by one before it that got further."""
        earlier = [step for step in self._steps if step.name in self._beginning.tried]
        if not earlier:
            return self._tried
        return [step for step in self._steps if step in earlier or step in self._tried]

    def _too_late_for_all(self, undo: Undo) -> bool:
        """Whether every step stands, because the last one does and nothing was undone yet."""
        others = {step.undo_name for step in self._steps} - {undo.step.undo_name}
        return undo.step.name == self._steps[-1].name and others.isdisjoint(self._beginning.undone)

    def _undos(self, steps: Sequence[Step]) -> list[Undo]:
        """The undos of everything that may stand, last in first out, under every key of a step."""
        known = dict(self._beginning.ordinals)
        for step in steps:
            known[step.name] = max(known.get(step.name, 1), 1 + self._ordinals[step.name])
        return undos(self._id, steps, known)

    def _insist(self, failed: Sequence[tuple[Undo, Answer, Incident | None]]) -> Yields[None]:
        """Tries again for hours what could not be undone; then a person is asked."""
        asked: list[tuple[Undo, Answer, Incident]] = []
        for undo, answer, incident in failed:
            if incident is None:
                answer = yield from self._undo(undo, patient(self._retry))
            if incident is None and not answer.done:
                incident = yield from self._open_undo_incident(undo, answer)
            if incident is not None:
                asked.append((undo, answer, incident))
        for undo, answer, incident in asked:
            while (yield from self._resolution(incident)) == "retry":
                self._ordinals[undo.name] += answer.over
                answer = yield from self._undo(undo, self._retry)
                if answer.done:
                    break
                incident = yield from self._open_undo_incident(undo, answer)

    def _undo(self, undo: Undo, rule: RetryRule) -> Yields[Answer]:
        step, again = undo.step, self._ordinals[undo.name]
        name = undo.name if not again else f"{undo.name}/again-{again}"
        next_key = self._key(f"{undo.name}/again-{again + 1}")
        call: dict[str, Any] = {"undoes": undo.undoes, "next_key": next_key, "rule": rule}
        return (yield from self._effect(step.undo or "", name, step.undo_body, ASK, **call))

    def _open_undo_incident(self, undo: Undo, answer: Answer) -> Yields[Incident]:
        return (yield from self._open(undo.name, "undo_failed", answer))

    def _wait_to_be_reconciled(self, step: Step) -> Yields[None]:
        yield from self._store("record.hold", Hold(instance=self._id, step=step.name))
        yield when_any([self._doorbell("reconcile"), self._doorbell("cancel")])
        self._answer_door("reconcile")
        yield from self._stop_if_cancelled()
        self._count_round()

    def _turn(self, direction: Direction, reason: str, *, refused: bool = False) -> Yields[Any]:
        turn = Turn(instance=self._id, direction=direction, reason=reason[:500], refused=refused)
        return (yield from self._store("record.turn", turn))


def undos(id: str, steps: Sequence[Step], ordinals: Mapping[str, int]) -> list[Undo]:
    """The undos of steps that were tried under these ordinals, last in first out."""
    found = []
    for step in reversed(steps):
        for ordinal in range(ordinals.get(step.name, 1), 0, -1):
            if step.undo is not None:
                undoes = f"{id}/{_numbered(step.name, ordinal, step.numbered)}"
                found.append(Undo(step, _numbered(step.undo_name, ordinal), undoes))
    return found


def _numbered(name: str, ordinal: int, always: bool = False) -> str:
    return f"{name}/{ordinal}" if always or ordinal > 1 else name
