"""One batch: an instance for every scenario, each at its own point; one fault; judge them all."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from conformance import judge
from conformance.aims import aim, holds
from conformance.client import Gate, Witness
from conformance.clusters import Cluster, Victim
from conformance.contract import WorkflowPath
from conformance.crowd import Crowd, Member
from conformance.events import BatchEnded, BatchStarted, FaultFired, Judged, Listener, Note
from conformance.evidence import Evidence
from conformance.faults import Proof, fate, strike
from conformance.holding import Aimed, hold_all
from conformance.judge import Hit
from conformance.scenario import DUPLICATE, NOTHING, Fault, Scenario

QUIET = 1.5  # seconds in which a second start would have done something, if it does anything


@dataclass(frozen=True)
class Bench:
    """What all batches of a run share.

    `undoes` maps undo operations to what they undo, `kin` workflows to their outcomes; `patience`
    is how many seconds a sidecar may be without a worker before it is taken for wedged.
    """

    cluster: Cluster
    gate: Gate
    witness: Witness
    emit: Listener
    tag: str
    undoes: Mapping[str, str]
    kin: Mapping[str, frozenset[str]]
    patience: float
    repeat: str
    mutant: str | None = None
    numbers: itertools.count[int] = field(default_factory=itertools.count)


@dataclass(frozen=True)
class Result:
    """The verdicts of a batch, and the scenarios whose instances never came to their points."""

    judged: list[Judged]
    deferred: list[Scenario]


async def run(
    bench: Bench,
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
    number = next(bench.numbers)
    name = f"{number}-{fault.victim}-{fault.kind}"
    aimed = []
    for n, scenario in enumerate(_in_order(scenarios)):
        member = Member(f"{bench.tag}-{number}-{n}", paths[scenario.path])
        if fault in (DUPLICATE, NOTHING) and scenario.point.name.startswith("client:"):
            member.repeated = scenario.point.name if fault == DUPLICATE else None
        aimed.append(Aimed(scenario, member, aim(scenario, member)))
    bench.emit(
        BatchStarted(
            batch=name,
            victim=fault.victim,
            fault=fault.kind,
            instances=len(aimed),
            mutant=bench.mutant,
        )
    )
    return await _Batch(bench, name, fault, aimed).run(last_try=last_try)


def _in_order(scenarios: Sequence[Scenario]) -> list[Scenario]:
    # Those with the longest way go first. Whoever is held in a call has a timeout of its caller's:
    # these come last, so that they wait for the shortest time.
    return sorted(scenarios, key=lambda each: (each.point.impatient, -each.point.after))


class _Batch:
    def __init__(self, bench: Bench, name: str, fault: Fault, aimed: list[Aimed]) -> None:
        self._bench = bench
        self._name = name
        self._fault = fault
        self._aimed = aimed
        self._began = time.monotonic()

    async def run(self, *, last_try: bool) -> Result:
        """From the first rule to the last verdict."""
        bench = self._bench
        await bench.gate.clear()
        await self._load()
        members = [each.member for each in self._aimed]
        async with Crowd(members, bench.cluster.values, bench.gate, bench.witness) as crowd:
            crowd.start()
            proof, held_after = await self._fault_them(crowd)
            healed = time.monotonic()
            patience = max(member.path.settles for member in members)
            await crowd.settle(healed + patience)
            await crowd.last_look()
            settled = time.monotonic()
            if self._fault == DUPLICATE:
                await self._start_again(crowd)
            judged, deferred = await self._judge(proof, healed, last_try=last_try)
        await bench.gate.clear()
        await bench.witness.clear()
        words = [each.verdict for each in judged]
        bench.emit(
            BatchEnded(
                batch=self._name,
                held_after=held_after,
                healed_after=proof.healed_at - proof.at,
                settled_after=settled - healed,
                passed=words.count("pass"),
                failed=words.count("fail"),
                unknown=words.count("unknown"),
                mutant=bench.mutant,
            )
        )
        return Result(judged, deferred)

    async def _load(self) -> None:
        bench = self._bench
        await bench.gate.rules([rule for each in self._aimed for rule in each.aim.gate])
        rules = [rule for each in self._aimed for rule in each.aim.witness]
        ids = iter(await bench.witness.script(rules))
        for each in self._aimed:
            own = list(itertools.islice(ids, len(each.aim.witness)))
            if each.aim.fault is not None and each.aim.fault in each.aim.witness:
                each.rule = own[each.aim.witness.index(each.aim.fault)]

    async def _fault_them(self, crowd: Crowd) -> tuple[Proof, float]:
        """Holds, strikes and lets go; where every instance has a fault of its own, nothing."""
        if not holds(self._fault):
            now = time.time()
            return Proof(True, str(self._fault), now, now), 0.0
        await hold_all(self._aimed, self._bench.witness)
        held_after = time.monotonic() - self._began
        held = sum(each.held for each in self._aimed)
        bench = self._bench
        victim = cast(Victim, self._fault.victim)
        kind = "cut" if self._fault.kind == "refused" else self._fault.kind
        proof = await strike(
            bench.cluster,
            bench.gate,
            victim,
            kind,
            self._let_go,
            bench.emit,
            patience=bench.patience,
        )
        bench.emit(
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

    async def _let_go(self) -> None:
        way = fate(self._fault.victim, self._fault.kind)
        await self._bench.gate.release(
            dispatch=way.dispatch, completion=way.completion, request=way.request
        )
        await self._bench.witness.release()

    async def _start_again(self, crowd: Crowd) -> None:
        again = [e for e in self._aimed if e.member.repeated == "client:start" and e.member.ended]
        for each in again:
            ledger = await self._bench.witness.ledger(each.member.id)
            each.before_repeat = ledger["effects"]
        await asyncio.gather(*(crowd.start_again(each.member) for each in again))
        if again:
            await asyncio.sleep(QUIET)

    async def _judge(
        self, proof: Proof, healed: float, *, last_try: bool
    ) -> tuple[list[Judged], list[Scenario]]:
        fired = await self._bench.witness.fired()
        judged, deferred = [], []
        for each in self._aimed:
            hit = self._hit(each, proof, fired)
            seen = await self._evidence(each, healed)
            verdict = judge.judged(
                each.scenario,
                each.member,
                seen,
                hit,
                batch=self._name,
                repeat=f"{self._bench.repeat} --only '{each.scenario}'",
                mutant=self._bench.mutant,
            )
            if verdict.verdict == "unknown" and not hit.fired and not last_try:
                deferred.append(each.scenario)
                continue
            if verdict.verdict != "pass":
                rows = await judge.timeline(self._bench.gate, each.member, seen, hit)
                verdict = replace(verdict, timeline=rows)
            self._bench.emit(verdict)
            judged.append(verdict)
        if deferred:
            count = f"{len(deferred)} of {len(self._aimed)}"
            text = f"{self._name}: {count} did not come to their points and are sent again"
            self._bench.emit(Note(kind="split", text=text))
        return judged, deferred

    def _hit(self, each: Aimed, proof: Proof, fired: Mapping[str, int]) -> Hit:
        name = each.scenario.point.name
        if holds(self._fault):
            ok = each.held and proof.proven
            text = proof.text if ok else f"it was not held at {name} when the fault struck"
        elif each.rule is not None:
            ok = fired.get(each.rule, 0) > 0
            text = f"the witness's rule fired {fired.get(each.rule, 0)} times"
        elif each.aim.gate:
            ok = name in each.member.seen.fired
            text = f"{name} was {'delivered twice' if ok else 'never met'}"
        elif self._fault == NOTHING:
            ok, text = True, "left alone"
        else:
            ok = each.member.sent_twice
            text = "sent twice" if ok else f"{name} was not sent twice"
        return Hit(ok, text, proof.at, proof.healed_at)

    async def _evidence(self, each: Aimed, healed: float) -> Evidence:
        member = each.member
        ledger = await self._bench.witness.ledger(member.id)
        end = member.ended_at or time.monotonic()
        return Evidence(
            instance=member.id,
            path=member.path,
            attempts=ledger["attempts"],
            effects=ledger["effects"],
            answers=member.answers,
            look=member.look,
            missing=member.missing,
            ended=member.ended,
            outcome=member.outcome,
            engine=member.seen.ended,
            turns=member.seen.turns,
            idle=member.seen.idle,
            seconds=max(0.0, end - healed),
            deadline=member.path.settles,
            fault=str(self._fault),
            point=each.scenario.point.name,
            before_repeat=each.before_repeat,
            undoes=self._bench.undoes,
            kin=self._bench.kin[member.path.workflow],
        )
