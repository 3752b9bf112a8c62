"""Dry runs: every path is taken a few times without any fault, and shows the points it crosses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from conformance.client import Gate, Witness
from conformance.clusters import Cluster
from conformance.contract import WorkflowPath
from conformance.crowd import Crowd, Member
from conformance.events import Listener, Note, PathMeasured
from conformance.patterns import complete
from conformance.scenario import Depth, Point

COPIES = 3  # of each path: a point that not all of them cross is not one to aim at
RACING = 8  # the same, where requests race: who wins decides what is crossed afterwards
AT_ONCE = 10  # paths: under load, rings come late and are repeated, and points are not the same
DEADLINE = 120.0  # seconds for the dry runs of so many
NOTHING_DECIDED = ("scripted-", "hung", "abandoned", "malformed", "invalid", "conflict")


class PathError(Exception):
    """A path that does not go as declared without any fault; nothing can be judged on it."""


@dataclass(frozen=True)
class Course:
    """A path and the points that it crosses, in order."""

    path: WorkflowPath
    points: tuple[Point, ...]
    unstable: tuple[str, ...]


async def measure(
    cluster: Cluster, paths: Sequence[WorkflowPath], tag: str, emit: Listener
) -> list[Course]:
    """Finds the points of these paths.

    Raises:
        PathError: a path does not end as declared; names all that do not, and how they end.
    """
    gate, witness = Gate(cluster.gate), Witness(cluster.witness)
    try:
        courses, wrong = [], []
        for n in range(0, len(paths), AT_ONCE):
            some = paths[n : n + AT_ONCE]
            found, astray = await _measure(cluster, some, f"{tag}-dry-{n}", emit, gate, witness)
            courses += found
            wrong += astray
        if wrong:
            raise PathError("\n".join(wrong))
        return courses
    finally:
        await gate.close()
        await witness.close()


async def _measure(
    cluster: Cluster,
    paths: Sequence[WorkflowPath],
    tag: str,
    emit: Listener,
    gate: Gate,
    witness: Witness,
) -> tuple[list[Course], list[str]]:
    began = time.monotonic()
    await gate.clear()
    copies = {
        path.name: [Member(f"{tag}-{n}-{copy}", path) for copy in range(_copies(path))]
        for n, path in enumerate(paths)
    }
    members = [member for each in copies.values() for member in each]
    await witness.script([rule for member in members for rule in script(member)])
    async with Crowd(members, cluster.values, gate, witness) as crowd:
        crowd.start()
        await crowd.settle(began + DEADLINE)
        await crowd.last_look()
    wrong, courses = [], []
    for path in paths:
        crossed = []
        for member in copies[path.name]:
            ledger = await witness.ledger(member.id)
            if why := _astray(member, ledger["effects"]):
                wrong.append(f"{path.name}: {why}")
                break
            crossed.append(_in_order(await gate.points(member.id), _effects(member, ledger)))
        else:
            courses.append(_course(path, crossed))
    for course in courses:
        shown = [{"point": point.name, "label": point.label} for point in course.points]
        emit(
            PathMeasured(
                path=course.path.name,
                workflow=course.path.workflow,
                points=shown,
                unstable=list(course.unstable),
                seconds=time.monotonic() - began,
            )
        )
        if course.unstable:
            some = ", ".join(course.unstable[:5])
            text = f"{course.path.name}: {len(course.unstable)} points not always crossed: {some}"
            emit(Note(kind="unstable", text=text))
    await gate.clear()
    await witness.clear()
    return courses, wrong


def _copies(path: WorkflowPath) -> int:
    return RACING if any(len(signal.requests) > 1 for signal in path.signals) else COPIES


def script(member: Member) -> list[dict[str, object]]:
    """The rules of the witness that make an instance take its path."""
    rules = []
    for rule in member.path.script:
        match = {**rule.get("match", {}), "instance": member.id}
        if "key" in match:
            match["key"] = match["key"].replace("{id}", member.id)
        rules.append({**rule, "match": match})
    return rules


def _astray(member: Member, effects: list[dict[str, object]]) -> str | None:
    found = [str(effect["operation"]) for effect in effects]
    if member.failure and not member.ended:
        return f"{member.failure} (effects so far: {', '.join(found) or 'none'})"
    if not member.ended:
        return f"not ended after {DEADLINE:.0f} s; look {member.look}; effects {found}"
    for ending in member.path.endings:
        if ending.outcome == member.outcome and complete(ending, effects):
            if len(effects) == len(ending.effects):
                return None
            return f"ends as {member.outcome} with more effects than declared: {found}"
    return f"ends as {member.outcome} with {found}, which is not declared"


@dataclass(frozen=True)
class _Crossing:
    """A point at the time when it was crossed; `told` is what it adds to what has happened."""

    at: float
    point: Point
    told: str | None = None


def _effects(member: Member, ledger: dict[str, list[dict[str, Any]]]) -> list[_Crossing]:
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
        pattern = key.replace(member.id, "{id}") if member.id in key else None
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


def distinct(courses: Sequence[Course], depth: Depth) -> list[Course]:
    """The same courses, each without the points that one before it stands for.

    Paths of a workflow have a beginning in common. Until they part, an instance of one is in the
    state (`Point.before`) that an instance of the other is in at the same point: one fault there
    judges both. A point of the same `Point.kind` in another state is judged again with the depth
    `states`, and not with `kinds`.
    """
    known: set[tuple[object, ...]] = set()
    parted = []
    for course in courses:
        own = []
        for point in course.points:
            state = (point.name, point.label, point.before) if depth == "states" else point.kind
            if depth == "paths" or (course.path.workflow, *state) not in known:
                known.add((course.path.workflow, *state))
                own.append(point)
        parted.append(replace(course, points=tuple(own)))
    return parted


def _course(path: WorkflowPath, crossed: list[list[Point]]) -> Course:
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
    return Course(path, tuple(points), tuple(sorted(set.union(*names) - always)))
