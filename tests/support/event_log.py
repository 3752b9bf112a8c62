"""Logs of runs that never were, made as the engine of the suite makes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from conformance.events import (
    BatchEnded,
    BatchStarted,
    Event,
    FaultFired,
    Judged,
    Log,
    MutantJudged,
    Note,
    PathMeasured,
    RunEnded,
    RunStarted,
    Verdict,
)

START = 1_795_262_400.0
WORKFLOWS = {
    "order_fulfilment": ("payment.charge", "inventory.reserve", "carrier.create_shipment"),
    "task_processing": ("directory.create_record", "directory.reserve_capacity", "notifier.send"),
    "approval": ("notifier.send", "approval.execute"),
    "health_monitor": ("health.check", "notifier.send"),
}
PATHS = ("happy", "refused", "undo_fails")
FAULTS = [
    *((victim, fault) for victim in ("app", "daprd", "scheduler", "placement", "store")
      for fault in ("kill", "pause", "cut")),
    ("message", "duplicate"), ("witness", "lost"), ("witness", "5xx"),
]  # fmt: skip
NASTY = "</script><script>document.title='owned'</script> & <b>\"bold\"</b> \u2028 \x1b[31m"
PROMISES = {
    "at_most_once": "An effect at most once, whatever is retried, replayed or woken up late.",
    "all_or_nothing": "All of it is done or all of it is undone, in reverse order.",
    "nothing_lost": "Nothing that was accepted is lost.",
    "undo_wins": "An undo beats a do that comes late.",
    "settles": "Everything settles within the deadline after the last fault was healed.",
}


def points(operations: tuple[str, ...]) -> list[dict[str, str]]:
    """The points of a path with these activities, as a dry run finds them."""
    found = [("start:request", "start"), ("start:response", "start")]
    for number, operation in enumerate(operations, 1):
        found += [(f"turn:{number}:{end}", f"turn {number}") for end in ("dispatch", "completion")]
        name = operation.partition(".")[2]
        found += [(f"activity:{name}:1:dispatch", name), (f"activity:{name}:1:completion", name)]
    last = len(operations) + 1
    found += [(f"turn:{last}:{end}", f"turn {last}") for end in ("dispatch", "completion")]
    found += [("end:acknowledged", "end")]
    for operation in operations:
        found += [(f"effect:{operation}:1:{side}", operation) for side in ("before", "after")]
    return [{"point": name, "label": label} for name, label in found]


def timeline(instance: str, at: float) -> list[dict[str, object]]:
    """What happened to an instance whose charge was sent twice."""
    rows = [
        (-0.412, "client", "start: 202"),
        (-0.398, "gate", "turn:1:dispatch passed"),
        (-0.371, "gate", "turn:1:completion passed"),
        (-0.352, "gate", "activity:charge:1:dispatch passed"),
        (-0.331, "effect", f"payment.charge {instance}/charge"),
        (-0.330, "witness", f"payment.charge {instance}/charge: applied, response held"),
        (0.0, "fault", "app:kill: held at its point, exit status 137"),
        (1.204, "fault", "healed"),
        (3.651, "gate", "activity:charge:1:dispatch passed"),
        (3.687, "effect", f"payment.charge {instance}/charge#2"),
        (3.688, "witness", f"payment.charge {instance}/charge#2: applied, response sent {NASTY}"),
        (3.702, "gate", "activity:charge:1:completion passed"),
        (4.117, "app", "ended FULFILLED"),
    ]
    return [{"at": at + after, "source": source, "what": what} for after, source, what in rows]


def judged(path: str, point: dict[str, str], fault: tuple[str, str], **more: object) -> Judged:
    """A verdict: passed, unless `more` says otherwise."""
    victim, kind = fault
    scenario = f"{path}@{point['point']}!{victim}:{kind}"
    known: dict[str, object] = {
        "verdict": "pass",
        "fired": True,
        "batch": f"0-{victim}-{kind}",
        "instance": "c-7f3a-0-12",
        "seconds": 4.2,
        "at": START + 100,
        "repeat": f"conformance run target.toml --cluster processes --only '{scenario}'",
    }
    return Judged(
        scenario=scenario,
        path=path,
        workflow=path.partition("/")[0],
        point=point["point"],
        label=point["label"],
        boundary=point["point"].rpartition(":")[2],
        victim=victim,
        fault=kind,
        **{**known, **more},  # type: ignore[arg-type]
    )


def run(paths: dict[str, tuple[str, ...]], *, broken: bool, mutants: bool) -> Iterator[Event]:
    """A whole run over these paths; if `broken`, three scenarios failed and two are unknown."""
    yield RunStarted(
        at=START,
        target="steadfast",
        cluster="containers",
        store="postgres",
        command="conformance run target.toml --cluster containers --store postgres",
        versions={"dapr": "1.18.2", "dapr-sdk": "1.19.0", "python": "3.11.9", "suite": "0.1.0"},
        promises=PROMISES,
    )
    for name, operations in paths.items():
        unstable = ["event:2:request"] if name.endswith("undo_fails") else []
        workflow = name.partition("/")[0]
        measured = points(operations)
        yield PathMeasured(
            path=name, workflow=workflow, points=measured, unstable=unstable, seconds=2.1
        )
        if unstable:
            text = f"{name}: 1 point not always crossed: event:2:request"
            yield Note(kind="unstable", text=text, at=START + 9)
    at, verdicts = START + 10, {"pass": 0, "fail": 0, "unknown": 0}
    for number, fault in enumerate(FAULTS):
        found = list(_verdicts(number, fault, paths, broken=broken))
        yield from _batch(number, fault, found, at)
        for each in found:
            verdicts[each.verdict] += 1
        at += 40 if fault[0] == "scheduler" else 18
    yield Note(
        kind="wedge", text="daprd lost its worker; the application healed it in 6.2 s", at=at
    )
    text = "2-app-cut: 14 of 212 did not come to their points and are sent again"
    yield Note(kind="split", text=text, at=at)
    text = "scheduler ended by itself (exit status 1) and was started again"
    yield Note(kind="supervision", text=text, at=at)
    yield Note(kind="info", text=f"a note with {NASTY}", at=at)
    if mutants:
        yield from _mutants()
    yield RunEnded(
        at=at,
        judged=sum(verdicts.values()),
        fired=sum(verdicts.values()) - verdicts["unknown"],
        passed=verdicts["pass"],
        failed=verdicts["fail"],
        unknown=verdicts["unknown"],
        seconds=at - START,
        exit=1 if verdicts["fail"] or mutants else 2 if verdicts["unknown"] else 0,
    )


def _verdicts(
    number: int, fault: tuple[str, str], paths: dict[str, tuple[str, ...]], *, broken: bool
) -> Iterator[Judged]:
    serial = 0
    for path, operations in paths.items():
        for point in points(operations):
            if fault[0] == "witness" and not point["point"].startswith("effect:"):
                continue
            serial += 1
            batch, instance = f"{number}-{'-'.join(fault)}", f"c-7f{number}-{serial}"
            wrong: dict[str, object] = {}
            if broken and path == next(iter(paths)):
                wrong = _wrong(point["point"], fault, instance)
            yield judged(path, point, fault, batch=batch, instance=instance, **wrong)


def _wrong(point: str, fault: tuple[str, str], instance: str) -> dict[str, object]:
    if fault in (("app", "kill"), ("app", "pause")) and point == "effect:payment.charge:1:after":
        why = f"payment.charge took effect 2 times, not 1: {instance}/charge, {instance}/charge#2"
        rows = timeline(instance, START + 60)
        return {"verdict": "fail", "broken": {"at_most_once": why}, "timeline": rows}
    if fault == ("daprd", "kill") and point == "turn:2:completion":
        broken = {"all_or_nothing": f"charged and not refunded {NASTY}", "settles": "60 s later"}
        return {"verdict": "fail", "broken": broken, "timeline": timeline(instance, START + 90)}
    if fault == ("placement", "cut") and point in ("turn:1:dispatch", "start:response"):
        return {"verdict": "unknown", "fired": False, "reason": "it never came to its point"}
    return {}


def _batch(number: int, fault: tuple[str, str], found: list[Judged], at: float) -> Iterator[Event]:
    name, words = f"{number}-{'-'.join(fault)}", [each.verdict for each in found]
    victim, kind = fault
    yield BatchStarted(batch=name, victim=victim, fault=kind, instances=len(found), at=at)
    if victim not in ("message", "witness"):
        proof = "exit 137" if kind == "kill" else f"{kind} seen"
        yield FaultFired(
            batch=name, victim=victim, fault=kind, proven=True, proof=proof, held=len(found), at=at
        )
    yield from found
    yield BatchEnded(
        batch=name,
        at=at + 12,
        held_after=4.0 + number % 5,
        healed_after=25.2 if victim == "scheduler" else 2.1,
        settled_after=5.0 + number % 7,
        passed=words.count("pass"),
        failed=words.count("fail"),
        unknown=words.count("unknown"),
    )


def _mutants() -> Iterator[Event]:
    kinds: list[tuple[str, str, str, Verdict]] = [
        ("key_per_attempt", "every attempt has a key of its own", "at_most_once", "fail"),
        ("undo_after_success", "the undo is registered after the step", "all_or_nothing", "fail"),
        ("swallowed_undo", "a failed undo is forgotten", "all_or_nothing", "pass"),
    ]
    point = {"point": "effect:payment.charge:1:after", "label": "payment.charge"}
    for name, summary, promise, verdict in kinds:
        fault = ("app", "kill")
        batch = f"0-{name}"
        yield BatchStarted(batch=batch, victim="app", fault="kill", instances=3, mutant=name)
        yield FaultFired(
            batch=batch, victim="app", fault="kill", proven=True, proof="exit 137", held=3
        )
        for copy in range(3):
            more: dict[str, object] = {"mutant": name, "batch": batch, "verdict": verdict}
            more["instance"] = f"m-{name}-{copy}"
            if verdict == "fail":
                rows = timeline(f"m-{name}-{copy}", START + 300)
                more |= {"broken": {promise: f"{promise} broke {NASTY}"}, "timeline": rows}
            yield judged(f"order_fulfilment/{PATHS[copy]}", point, fault, **more)
        failed = 3 if verdict == "fail" else 0
        yield BatchEnded(
            batch=batch, held_after=1.0, healed_after=2.0, settled_after=3.0, passed=3 - failed,
            failed=failed, unknown=0, mutant=name,
        )  # fmt: skip
        yield MutantJudged(
            mutant=name,
            summary=summary,
            promise=promise,
            caught=bool(failed),
            broken={promise: failed} if failed else {},
            scenarios=3,
            reason="" if failed else "no scenario failed",
        )


def small(*, broken: bool = True, mutants: bool = True) -> Iterator[Event]:
    """Four workflows with three paths each."""
    paths = {f"{flow}/{path}": steps for flow, steps in WORKFLOWS.items() for path in PATHS}
    return run(paths, broken=broken, mutants=mutants)


def large(scenarios: int = 15_000) -> Iterator[Event]:
    """At least so many scenarios, over twenty workflows."""
    steps = tuple(f"provider{n % 4}.operation_{n}" for n in range(6))
    each = len(points(steps)) * (len(FAULTS) - 2)
    paths = {
        f"workflow_{number // 5:02}/path_{number % 5}": steps
        for number in range(-(-scenarios // each))
    }
    return run(paths, broken=True, mutants=True)


def write(events: Iterator[Event], file: Path) -> Path:
    """Writes a log."""
    log = Log(file)
    for event in events:
        log(event)
    log.close()
    return file
