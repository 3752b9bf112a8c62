"""What a simulation shows of one instance, as the suite's promises want to see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from conformance.judge.evidence import Answer, Evidence
from conformance.plan.contract import Request, Signal, StatusProbe, WorkflowPath
from downstream.config import load
from simulation.clock import EPOCH
from simulation.endings import COURSES, NOTIFICATION, SKIPPABLE, Happened, endings
from simulation.result import Answered, Result
from simulation.schedule import Call, Schedule
from simulation.stories import Story, story_of
from simulation.strain import FIVE_TRIES, PATIENCE, Strain, strain

ROOT = Path(__file__).parent.parent
STARTS = ("/orders", "/tasks", "/deployments", "/approvals", "/documents", "/monitors")
ALERTS = tuple(
    f"{NOTIFICATION} template=health_{kind}" for kind in ("warning", "critical", "recovery")
)
# Notifications that are sent while an instance waits; how many is a matter of time.
WAITING = ("please_sign", "please_decide")
NOWHERE = StatusProbe(url="/workflows/{id}", ended={"/status": "ENDED"}, outcome="/outcome")


@dataclass(frozen=True)
class Seen:
    """One instance at the end: what was drawn, and all that can be seen of it from outside.

    `notifications` are those to people on call, `effects` all others, `asked` its
    interventions.
    """

    id: str
    story: Story
    start: dict[str, Any]
    record: dict[str, Any] | None
    effects: list[dict[str, Any]]
    notifications: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    asked: list[dict[str, Any]]
    calls: list[tuple[Call, Answered]]
    schedule: Schedule
    strain: Strain

    @property
    def ended(self) -> bool:
        """Whether the application says that it has ended."""
        return self.record is not None and self.record["status"] == "ENDED"

    @property
    def outcome(self) -> str | None:
        """The outcome that the application reports."""
        return self.record["outcome"] if self.record else None

    @property
    def waits_for_a_person(self) -> bool:
        """Whether it is parked, with an open intervention that a person was notified of."""
        parked = self.record is not None and self.record["status"] == "PARKED"
        return parked and any(one["action"] is None for one in self.asked)

    @property
    def evidence(self) -> Evidence:
        """For the suite's promises, without the notifications to people on call."""
        return Evidence(
            instance=self.id,
            path=_path(self),
            attempts=self.attempts,
            effects=self.effects,
            answers=list(_answers(self)),
            status=self.record,
            missing=self.record is None,
            ended=self.ended,
            outcome=self.outcome,
            engine=None,
            turns=len(self.attempts),
            idle=True,
            seconds=0.0,
            deadline=self.schedule.until,
            fault="simulation",
            point="",
            before_repeat=_before_repeat(self),
            undoes=undoes(),
            sibling_outcomes=COURSES[self.story.kind].outcomes,
        )


def seen(schedule: Schedule, result: Result) -> list[Seen]:
    """Every instance that a client has started."""
    effects, attempts = _by_instance(result.effects), _by_instance(result.attempts)
    asked = _by_instance(result.interventions)
    calls = list(zip(schedule.calls, result.answers, strict=True))
    found = []
    for id, start in _starts(schedule).items():
        mine, tried = effects.get(id, []), attempts.get(id, [])
        operations = {row["operation"] for row in tried}
        patience = FIVE_TRIES if story_of(id).kind == "model_deployment" else PATIENCE
        found.append(
            Seen(
                id=id,
                story=story_of(id),
                start=start,
                record=result.records.get(id),
                effects=[each for each in mine if not on_call(each)],
                notifications=[each for each in mine if on_call(each)],
                attempts=tried,
                asked=asked.get(id, []),
                calls=[(call, answer) for call, answer in calls if about(call) == id],
                schedule=schedule,
                strain=strain(schedule, result.fired, id, operations, patience),
            )
        )
    return found


def on_call(effect: Mapping[str, Any]) -> bool:
    """Whether an effect notifies of an intervention; a monitor's alerts are its work."""
    template = str(effect["detail"].get("template", ""))
    return effect["operation"] == NOTIFICATION and template.startswith("intervention")


def moment(text: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@cache
def undoes() -> Mapping[str, str]:
    """Undo operations, and what each of them undoes."""
    declared = load(ROOT / "activities" / "providers.toml").operations
    return {each.undo: name for name, each in declared.items() if each.undo}


def _by_instance(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["instance"], []).append(row)
    return found


def _starts(schedule: Schedule) -> dict[str, dict[str, Any]]:
    return {
        call.body["id"]: call.body
        for call in reversed(schedule.calls)
        if call.path in STARTS and call.body is not None
    }


def about(call: Call) -> str | None:
    """The instance that a call is about."""
    if call.path in STARTS and call.body:
        return str(call.body["id"])
    if call.path == "/callbacks" and call.body:
        return str(call.body["reference"].split("/")[0])
    parts = call.path.split("/")
    return parts[2] if len(parts) > 2 else None


def _claims(call: Call) -> str | None:
    if not call.path.endswith("/decision") or not call.body:
        return None
    return "APPROVED" if call.body["approved"] else "REJECTED"


def _answers(seen: Seen) -> Iterator[Answer]:
    signals = 0
    started = False
    for call, answer in sorted(seen.calls, key=lambda pair: pair[1].at):
        if call.path in STARTS:
            what = "start again" if started else "start"
            started = True
        else:
            signals += 1
            what = f"signal {signals}"
        yield Answer(at=answer.at, what=what, status=answer.status, claims=_claims(call))


def _path(seen: Seen) -> WorkflowPath:
    kind = seen.story.kind
    claims = [claim for call, _ in seen.calls if (claim := _claims(call))]
    asked = tuple(Request(url="", claims=claim) for claim in claims)
    return WorkflowPath(
        name=seen.id,
        summary="",
        workflow=kind,
        start=Request(url=""),
        look=NOWHERE,
        alerts=ALERTS if kind == "health_monitor" else (),
        script=(),
        signals=(Signal(requests=asked),) if asked else (),
        endings=endings(kind, _happened(seen)),
        settles=seen.schedule.until,
    )


def _happened(seen: Seen) -> Happened:
    """What came between the steps, and which undos a person had to see to."""
    failed = {one["id"].rpartition("/")[0]: one["action"] for one in seen.asked}
    names = {row["key"]: row["operation"] for row in seen.attempts}
    return Happened(
        between=tuple(_between(seen)),
        late=frozenset(names[key] for key in failed if key in names),
        by_hand=frozenset(
            names[key] for key, action in failed.items() if action == "settled" and key in names
        ),
        skipped=frozenset(
            SKIPPABLE[name] for key in failed if (name := key.partition("/")[2]) in SKIPPABLE
        ),
        unordered=seen.story.late_money,
        turned=any(row["result"] == "too_late" for row in seen.attempts),
    )


def _between(seen: Seen) -> Iterator[str]:
    if seen.story.kind == "health_monitor":
        yield from expected_alerts(seen)
    for effect in seen.effects:
        template = effect["detail"].get("template")
        if effect["operation"] == NOTIFICATION and template in WAITING:
            yield f"{NOTIFICATION} template={template}"


def expected_alerts(seen: Seen) -> Iterator[str]:
    """The alerts that a monitor has to have sent, by the outages that were drawn for it.

    Where providers were away, what it found then is what it tells.
    """
    if seen.strain.harsh:
        for effect in seen.effects:
            yield f"{NOTIFICATION} template={effect['detail']['template']}"
        return
    outages = [call for call, _ in seen.calls if call.body == {"status": 503}]
    paused = any(call.body and call.body.get("action") == "pause" for call, _ in seen.calls)
    if not paused:
        yield from ALERTS * len(outages)


def _before_repeat(seen: Seen) -> list[dict[str, Any]] | None:
    """The effects before the start was sent again, if that was after the end."""
    if not seen.ended or seen.record is None:
        return None
    over = moment(seen.record["ended_at"]) + seen.strain.skew
    again = [
        answer.at + EPOCH
        for call, answer in seen.calls
        if call.path in STARTS and answer.at + EPOCH > over
    ]
    if not again:
        return None
    return [effect for effect in seen.effects if moment(effect["at"]) < min(again)]
