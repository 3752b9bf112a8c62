"""One batch: an instance for every scenario, each at its own point; one fault; judge them all."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from conformance import faults
from conformance.events import BatchEnded, BatchStarted, FaultFired, Judged, Note
from conformance.faults.kind import HeldFault, Scene
from conformance.faults.recovery import Proof, inject
from conformance.judge.evidence import Evidence
from conformance.judge.timeline import timeline
from conformance.judge.verdict import Hit, judged, unknown
from conformance.plan.contract import WorkflowPath
from conformance.plan.scenario import Fault, Scenario
from conformance.run.barrier import Case, until_held
from conformance.run.context import RunContext
from conformance.run.driver import Driver
from conformance.run.trial import Trial

QUIET = 1.5  # seconds in which a second start would have done something, if it does anything


@dataclass(frozen=True)
class Result:
    """The verdicts of a batch, and the scenarios whose instances never came to their points."""

    judged: list[Judged]
    deferred: list[Scenario]


async def run(
    context: RunContext,
    scenarios: Sequence[Scenario],
    paths: Mapping[str, WorkflowPath],
    *,
    last_try: bool,
) -> Result:
    """Judges scenarios that share one fault.

    With `last_try`, an instance that does not come to its point is unknown instead of deferred.

    Raises:
        ClusterError: the cluster did not come back; nothing more can be judged on it.
    """
    fault = scenarios[0].fault
    number = next(context.numbers)
    cases = []
    for n, scenario in enumerate(_in_order(scenarios)):
        path, instance = paths[scenario.path], f"{context.tag}-{number}-{n}"
        injection = faults.kind_of(fault).arm(scenario.point, path, instance)
        trial = Trial(instance, path, injection.repeat)
        cases.append(Case(scenario, trial, injection))
    batch = _Batch(context, f"{number}-{fault.victim}-{fault.kind}", fault, cases)
    return await batch.run(last_try=last_try)


def _in_order(scenarios: Sequence[Scenario]) -> list[Scenario]:
    # Those with the longest way go first. Those that are held in a call come last, so that they
    # wait for the shortest time: their callers have timeouts.
    return sorted(scenarios, key=lambda each: (each.point.impatient, -each.point.after))


class _Batch:
    def __init__(self, context: RunContext, name: str, fault: Fault, cases: list[Case]) -> None:
        self._context = context
        self._name = name
        self._fault = fault
        self._kind = faults.kind_of(fault)
        self._cases = cases
        self._began = time.monotonic()

    async def run(self, *, last_try: bool) -> Result:
        """From the first rule to the last verdict."""
        context = self._context
        context.emit(
            BatchStarted(
                batch=self._name,
                victim=self._fault.victim,
                fault=self._fault.kind,
                instances=len(self._cases),
                mutant=context.mutant,
            )
        )
        await context.gate.clear()
        await self._load()
        trials = [each.trial for each in self._cases]
        async with Driver(trials, context.cluster.values, context.gate, context.witness) as driver:
            driver.start()
            proof, held_after = await self._inject()
            healed = time.monotonic()
            patience = max(trial.path.settles for trial in trials)
            await driver.settle(healed + patience)
            await driver.probe_running()
            settled = time.monotonic()
            await self._start_again(driver)
            result = await self._judge(proof, healed, last_try=last_try)
        await context.gate.clear()
        await context.witness.clear()
        verdicts = [each.verdict for each in result.judged]
        context.emit(
            BatchEnded(
                batch=self._name,
                held_after=held_after,
                healed_after=proof.healed_at - proof.at,
                settled_after=settled - healed,
                passed=verdicts.count("pass"),
                failed=verdicts.count("fail"),
                unknown=verdicts.count("unknown"),
                mutant=context.mutant,
            )
        )
        return result

    async def _load(self) -> None:
        context = self._context
        await context.gate.rules([rule for each in self._cases for rule in each.injection.gate])
        rules = [rule for each in self._cases for rule in each.injection.witness]
        ids = iter(await context.witness.script(rules))
        for each in self._cases:
            own = list(itertools.islice(ids, len(each.injection.witness)))
            if each.injection.proof == "witness":
                each.rule = own[0]

    async def _inject(self) -> tuple[Proof, float]:
        """Holds, injects and releases; where every instance has a fault of its own, nothing."""
        if not isinstance(self._kind, HeldFault):
            now = time.time()
            return Proof(True, str(self._fault), now, now), 0.0
        await until_held(self._cases, self._context.witness)
        held_after = time.monotonic() - self._began
        held = sum(each.held for each in self._cases)
        context = self._context
        victim = self._fault.victim
        policy = self._kind.in_flight(victim)

        async def release() -> None:
            await context.gate.release(policy)
            await context.witness.release()

        scene = Scene(context.cluster, context.gate, victim, release)
        proof = await inject(self._kind, scene, context.emit, context.patience)
        context.emit(
            FaultFired(
                batch=self._name,
                victim=self._fault.victim,
                fault=self._fault.kind,
                proven=proof.proven,
                proof=proof.text,
                held=held,
            )
        )
        return proof, held_after

    async def _start_again(self, driver: Driver) -> None:
        again = [e for e in self._cases if e.trial.repeat == "client:start" and e.trial.ended]
        for each in again:
            ledger = await self._context.witness.ledger(each.trial.id)
            each.before_repeat = ledger["effects"]
        await asyncio.gather(*(driver.start_again(each.trial) for each in again))
        if again:
            await asyncio.sleep(QUIET)

    async def _judge(self, proof: Proof, healed: float, *, last_try: bool) -> Result:
        context = self._context
        fired = await context.witness.fired()
        result = Result([], [])
        for each in self._cases:
            hit = self._hit(each, proof, fired)
            seen = await self._evidence(each, healed)
            blank = unknown(
                each.scenario,
                "",
                batch=self._name,
                repeat=context.repeat,
                mutant=context.mutant,
            )
            verdict = judged(blank, seen, hit, context.promises)
            if verdict.verdict == "unknown" and not hit.fired and not last_try:
                result.deferred.append(each.scenario)
                continue
            if verdict.verdict != "pass":
                rows = timeline(await context.gate.messages(each.trial.id), seen, hit)
                verdict = replace(verdict, timeline=rows)
            context.emit(verdict)
            result.judged.append(verdict)
        if result.deferred:
            count = f"{len(result.deferred)} of {len(self._cases)}"
            text = f"{self._name}: {count} did not come to their points and are sent again"
            context.emit(Note(kind="split", text=text))
        return result

    def _hit(self, case: Case, proof: Proof, fired: Mapping[str, int]) -> Hit:
        name = case.scenario.point.name
        match case.injection.proof:
            case "held":
                ok = case.held and proof.proven
                missed = f"it was not held at {name} when the fault was injected"
                text = missed if proof.proven and not ok else proof.text
            case "witness":
                ok = fired.get(case.rule or "", 0) > 0
                text = f"the witness's rule fired {fired.get(case.rule or '', 0)} times"
            case "gate":
                ok = name in case.trial.gate.view.fired
                text = f"the gate's rule at {name} {'fired' if ok else 'did not fire'}"
            case "client":
                ok = case.trial.sent_twice
                text = "sent twice" if ok else f"{name} was not sent twice"
            case "none":
                ok, text = True, "left alone"
        return Hit(ok, text, proof.at, proof.healed_at)

    async def _evidence(self, case: Case, healed: float) -> Evidence:
        trial, status, view = case.trial, case.trial.status, case.trial.gate.view
        ledger = await self._context.witness.ledger(trial.id)
        end = status.ended_at or time.monotonic()
        return Evidence(
            instance=trial.id,
            path=trial.path,
            attempts=ledger["attempts"],
            effects=ledger["effects"],
            answers=trial.answers,
            status=status.document,
            missing=status.missing,
            ended=status.ended,
            outcome=status.outcome,
            engine=view.ended,
            turns=view.turns,
            idle=view.idle,
            seconds=max(0.0, end - healed),
            deadline=trial.path.settles,
            fault=str(self._fault),
            point=case.scenario.point.name,
            before_repeat=case.before_repeat,
            undoes=self._context.undoes,
            sibling_outcomes=self._context.sibling_outcomes[trial.path.workflow],
        )
