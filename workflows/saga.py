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
from dataclasses import dataclass
from typing import Any

from dapr.ext.workflow import DaprWorkflowContext, when_any

from workflows.instance import Abort, End, Instance, Yields
from workflows.messages import Answer, Direction, DirectionChange, Hold, Incident, RetryRule
from workflows.run import patient
from workflows.steps import ASK, Compensation, Step, compensations, numbered

Failed = tuple[Compensation, Answer, Incident | None]  # an undo that is not done yet


@dataclass(frozen=True)
class Outcome:
    """How the steps ended: all `done`, or all undone; and why, where there is a reason."""

    done: bool
    reason: str | None = None
    refused: bool = False

    def as_end(self, done: str, undone: str, refused: str | None = None) -> End:
        """The end of the run in one of these words; `refused` where the reason was a refusal."""
        undone = refused or undone if self.refused else undone
        return End(done if self.done else undone, self.reason)


class Saga(Instance):
    """One run of a saga: an instance whose steps are undone in reverse when it aborts."""

    def __init__(self, ctx: DaprWorkflowContext) -> None:
        super().__init__(ctx)
        self._input: Any = None
        self._steps: Sequence[Step] = ()
        self._declared: frozenset[str] = frozenset()
        self._tried: list[Step] = []
        self._ordinals: Counter[str] = Counter()

    def equip(
        self,
        input: Any,
        steps: Sequence[Step],
        others: Sequence[Step],
        carried: Mapping[str, Any],
    ) -> None:
        """Takes the input, and the steps that the workflow declares."""
        super().equip(input, steps, others, carried)
        self._input, self._steps = input, steps
        self._declared = frozenset(step.do for step in (*steps, *others))

    def run(self, forward: Callable[[], Yields[None]]) -> Yields[Outcome]:
        """Drives `forward` to its end; when it aborts, undoes in reverse what was tried."""
        if self._permit.direction == "down":
            reason, refused = self._permit.reason or "turned down", self._permit.refused
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
            Abort: the provider refused, or every attempt failed, or an operator cancelled.
            LookupError: the workflow does not declare what the step does.
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
        """Carries out a step behind the pivot: no way back, so only retry and intervention.

        Raises:
            LookupError: the workflow does not declare what the step does.
        """
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
        if step.do not in self._declared:
            raise LookupError(f"{step.name}: {step.do} is in no step that the workflow declares")
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
        return numbered(step.name, 1 + self._ordinals[step.name] + later, step.numbered)

    def _compensate(self, abort: Abort, steps: Sequence[Step]) -> Yields[str | None]:
        """Undoes in reverse and goes on past a failure; says why, when it turned forward again."""
        yield from self._turn("down", abort.reason, refused=abort.refused)
        failed: list[Failed] = []
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
        if not any(step.name in self._permit.tried for step in self._steps):
            return self._tried
        tried = {step.name for step in self._tried}.union(self._permit.tried)
        return [step for step in self._steps if step.name in tried]

    def _too_late_for_all(self, undo: Compensation) -> bool:
        """Whether every step stands, because the last one does and nothing was undone yet."""
        others = {step.undo.name for step in self._steps if step.undo} - {undo.undo.name}
        return undo.step.name == self._steps[-1].name and others.isdisjoint(self._permit.undone)

    def _undos(self, steps: Sequence[Step]) -> list[Compensation]:
        """The undos of everything that may stand, last in first out, under every key of a step."""
        known = dict(self._permit.ordinals)
        for step in steps:
            known[step.name] = max(known.get(step.name, 1), 1 + self._ordinals[step.name])
        return compensations(self.id, steps, known)

    def _insist(
        self, failed: Sequence[tuple[Compensation, Answer, Incident | None]]
    ) -> Yields[None]:
        """Tries again for hours what could not be undone; then a person is asked."""
        asked: list[tuple[Compensation, Answer, Incident]] = []
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

    def _undo(self, undo: Compensation, rule: RetryRule) -> Yields[Answer]:
        again = self._ordinals[undo.name]
        name = undo.name if not again else f"{undo.name}/again-{again}"
        next_key = self._key(f"{undo.name}/again-{again + 1}")
        call: dict[str, Any] = {"undoes": undo.undoes, "next_key": next_key, "rule": rule}
        body = undo.undo.body(self._input)
        return (yield from self._effect(undo.undo.do, name, body, ASK, **call))

    def _open_undo_incident(self, undo: Compensation, answer: Answer) -> Yields[Incident]:
        return (yield from self._open(undo.name, "undo_failed", answer))

    def _wait_to_be_reconciled(self, step: Step) -> Yields[None]:
        yield from self._store("record.hold", Hold(instance=self.id, step=step.name))
        yield when_any([self._signal("reconcile"), self._signal("cancel")])
        self._take_signal("reconcile")
        yield from self._stop_if_cancelled()
        self._count_round()

    def _turn(self, direction: Direction, reason: str, *, refused: bool = False) -> Yields[Any]:
        turn = DirectionChange(
            instance=self.id, direction=direction, reason=reason[:500], refused=refused
        )
        return (yield from self._store("record.turn", turn))
