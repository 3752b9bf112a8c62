"""Dry runs: every path is taken a few times without any fault, and shows the points it crosses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from conformance.clients import GateClient, WitnessClient
from conformance.clusters import Cluster
from conformance.errors import ConformanceError
from conformance.events import Listener, Note, PathMeasured
from conformance.plan.contract import WorkflowPath
from conformance.plan.injection import script
from conformance.plan.patterns import complete
from conformance.plan.points import MeasuredPath, Point
from conformance.run.driver import Driver
from conformance.run.trial import Trial

COPIES = 3  # of each path: a point that not all of them cross is not one to aim at
RACING = 8  # the same, where requests race: who wins decides what is crossed afterwards
AT_ONCE = 10  # paths: under load, rings come late and are repeated, and points are not the same
DEADLINE = 120.0  # seconds for the dry runs of so many
NOTHING_DECIDED = ("scripted-", "hung", "abandoned", "malformed", "invalid", "conflict")


class PathError(ConformanceError):
    """A path that does not go as declared without any fault; nothing can be judged on it."""


async def measure(
    cluster: Cluster, paths: Sequence[WorkflowPath], tag: str, emit: Listener
) -> list[MeasuredPath]:
    """Finds the points of these paths.

    Raises:
        PathError: a path does not end as declared; names all that do not, and how they end.
    """
    gate, witness = GateClient(cluster.gate), WitnessClient(cluster.witness)
    try:
        measured, wrong = [], []
        for n in range(0, len(paths), AT_ONCE):
            some = paths[n : n + AT_ONCE]
            found, astray = await _measure(cluster, some, f"{tag}-dry-{n}", emit, gate, witness)
            measured += found
            wrong += astray
        if wrong:
            raise PathError("\n".join(wrong))
        return measured
    finally:
        await gate.close()
        await witness.close()


async def _measure(
    cluster: Cluster,
    paths: Sequence[WorkflowPath],
    tag: str,
    emit: Listener,
    gate: GateClient,
    witness: WitnessClient,
) -> tuple[list[MeasuredPath], list[str]]:
    began = time.monotonic()
    await gate.clear()
    copies = {
        path.name: [Trial(f"{tag}-{n}-{copy}", path) for copy in range(_copies(path))]
        for n, path in enumerate(paths)
    }
    trials = [trial for each in copies.values() for trial in each]
    await witness.script([rule for trial in trials for rule in script(trial.path, trial.id)])
    async with Driver(trials, cluster.values, gate, witness) as driver:
        driver.start()
        await driver.settle(began + DEADLINE)
        await driver.probe_running()
    wrong, measured = [], []
    for path in paths:
        crossed = []
        for trial in copies[path.name]:
            ledger = await witness.ledger(trial.id)
            if why := _astray(trial, ledger["effects"]):
                wrong.append(f"{path.name}: {why}")
                break
            crossed.append(_in_order(await gate.points(trial.id), _effects(trial, ledger)))
        else:
            measured.append(_measured(path, crossed))
    for each in measured:
        _tell(each, time.monotonic() - began, emit)
    await gate.clear()
    await witness.clear()
    return measured, wrong


def _tell(measured: MeasuredPath, seconds: float, emit: Listener) -> None:
    path, unstable = measured.path, measured.unstable
    shown = [{"point": point.name, "label": point.label} for point in measured.points]
    emit(
        PathMeasured(
            path=path.name,
            workflow=path.workflow,
            points=shown,
            unstable=list(unstable),
            seconds=seconds,
        )
    )
    if unstable:
        some = ", ".join(unstable[:5])
        text = f"{path.name}: {len(unstable)} points not always crossed: {some}"
        emit(Note(kind="unstable", text=text))


def _copies(path: WorkflowPath) -> int:
    return RACING if any(len(signal.requests) > 1 for signal in path.signals) else COPIES


def _astray(trial: Trial, effects: list[dict[str, object]]) -> str | None:
    found = [str(effect["operation"]) for effect in effects]
    if trial.failure and not trial.ended:
        return f"{trial.failure} (effects so far: {', '.join(found) or 'none'})"
    if not trial.ended:
        return f"not ended after {DEADLINE:.0f} s; status {trial.status.document}; effects {found}"
    for ending in trial.path.endings:
        if ending.outcome == trial.status.outcome and complete(ending, effects):
            if len(effects) == len(ending.effects):
                return None
            return f"ends as {trial.status.outcome} with more effects than declared: {found}"
    return f"ends as {trial.status.outcome} with {found}, which is not declared"


@dataclass(frozen=True)
class _Crossing:
    """A point at the time when it was crossed; `told` is what it adds to what has happened."""

    at: float
    point: Point
    told: str | None = None


def _effects(trial: Trial, ledger: dict[str, list[dict[str, Any]]]) -> list[_Crossing]:
    """Before and after each effect: the n-th distinct key of each operation."""
    keys: dict[str, list[str]] = {}
    crossed = []
    for attempt in ledger["attempts"]:
        operation, key, result = (str(attempt[name]) for name in ("operation", "key", "result"))
        at = datetime.fromisoformat(attempt["at"]).timestamp()
        known = keys.setdefault(operation, [])
        if key in known:
            continue
        known.append(key)
        name = f"effect:{operation}:{len(known)}"
        pattern = key.replace(trial.id, "{id}") if trial.id in key else None
        told = f"{operation} {result}"
        if result.startswith(NOTHING_DECIDED):
            crossed.append(_Crossing(at, Point(f"{name}:before", operation, pattern), told))
        else:
            crossed.append(_Crossing(at, Point(f"{name}:before", operation, pattern)))
            crossed.append(_Crossing(at, Point(f"{name}:after", operation, pattern), told))
    return crossed


def _in_order(rows: Sequence[dict[str, Any]], effects: Sequence[_Crossing]) -> list[Point]:
    """All points of one run by time, each with what had happened before."""
    crossed = [*effects]
    for row in rows:
        point = Point(row["point"], row["label"])
        is_turn = point.name.startswith("turn:") and point.boundary == "dispatch"
        crossed.append(_Crossing(row["at"], point, point.label if is_turn else None))
    crossed.sort(key=lambda each: each.at)
    before: tuple[str, ...] = ()
    points = []
    silence, last = 0.0, crossed[0].at if crossed else 0.0
    for crossing in crossed:
        silence, last = max(silence, crossing.at - last), crossing.at
        after = crossing.at - crossed[0].at
        points.append(replace(crossing.point, before=before, after=after, silence=silence))
        if crossing.told is not None:
            before = (*before, crossing.told)
    return points


def _measured(path: WorkflowPath, crossed: list[list[Point]]) -> MeasuredPath:
    names = [{point.name for point in each} for each in crossed]
    always = set.intersection(*names)
    runs = [{point.name: point for point in each} for each in crossed]
    points = []
    for point in crossed[0]:
        if point.name not in always:
            continue
        alike = [run[point.name] for run in runs]
        # A key that differs from run to run cannot be aimed at; its operation can.
        key = point.key if len({each.key for each in alike}) == 1 else None
        after = max(each.after for each in alike)
        silence = max(each.silence for each in alike)
        points.append(replace(point, key=key, after=after, silence=silence))
    return MeasuredPath(path, tuple(points), tuple(sorted(set.union(*names) - always)))
