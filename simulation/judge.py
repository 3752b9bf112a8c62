"""Judges a simulation: by the suite's own promises, and by those that only hours can break.

What happened is right if the ledger shows one of the endings of the workflow, the one that the
application reports, and if that is one of those that the story of the instance allows. What was not
shown is unknown, and never passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from conformance import promises
from simulation.evidence import Seen, on_call, seen
from simulation.promises import OWN, UNSTARTED
from simulation.result import Result
from simulation.schedule import Schedule
from simulation.strain import is_story, strain

OUTAGE = ("engine_stalled", "start_failed")  # what is asked about an engine that is away


@dataclass(frozen=True)
class Broken:
    """A promise that was not kept, for which instance, and why."""

    instance: str
    promise: str
    why: str

    def __str__(self) -> str:
        return f"{self.instance}: {self.promise}: {self.why}"


@dataclass(frozen=True)
class Judgement:
    """What is to be said of a simulation.

    `unfired` are the disturbances, by position, that never met what they are for.
    """

    broken: tuple[Broken, ...] = ()
    unknown: tuple[str, ...] = ()
    instances: int = 0
    unfired: tuple[int, ...] = field(default=())

    @property
    def kept(self) -> bool:
        """Whether every promise is known to have been kept."""
        return not self.broken and not self.unknown and self.instances > 0


def judge(schedule: Schedule, result: Result) -> Judgement:
    """Judges every instance of a simulation, and what belongs to none."""
    instances = seen(schedule, result)
    broken: list[Broken] = []
    unknown = list(_unanswered(schedule, result))
    for each in instances:
        found, crashed = _judged(each)
        broken += [Broken(each.id, name, why) for name, why in found.items()]
        unknown += [f"{each.id}: {crashed}"] if crashed else []
    broken += _unasked(instances, result)
    broken += _needless_interventions(schedule, result)
    return Judgement(
        broken=tuple(broken),
        unknown=tuple(unknown),
        instances=len(instances),
        unfired=tuple(
            number
            for number, one in enumerate(schedule.disturbances)
            if not is_story(one) and not result.fired[number]
        ),
    )


def _judged(each: Seen) -> tuple[dict[str, str], str]:
    """The promises that were broken, and which checks crashed: a crash is no pass."""
    broken, crashed = {}, []
    evidence, void = each.evidence, _void(each)
    checks: list[tuple[str, Callable[[], str | None]]] = [
        *((name, partial(check, evidence)) for name, check in promises.checks().items()),
        *((name, partial(check, each)) for name, check in OWN.items()),
    ]
    for name, check in checks:
        try:
            why = None if name in void else check()
        except Exception as error:
            crashed.append(f"{name} crashed: {type(error).__name__}: {error}")
            continue
        if why is not None:
            broken[name] = why
    return broken, "; ".join(crashed)


def _void(each: Seen) -> set[str]:
    """What cannot be asked of an instance."""
    void: set[str] = set()
    if each.waits_for_a_person:
        # It is half-way, because a person was asked and has not answered.
        void |= {"settles", "events_once"}
    if each.story.late_money:
        # The provider itself does what it was asked not to do.
        void |= {"undo_wins"}
    return void


def _unasked(instances: list[Seen], result: Result) -> Iterator[Broken]:
    """What was done in the name of an instance that was never started."""
    known = {each.id for each in instances}
    for effect in result.effects:
        if effect["instance"] not in known and not on_call(effect):
            why = f"{effect['operation']} ({effect['key']}), and no client asked for it"
            yield Broken(effect["instance"], "nothing_unasked", why)


def _needless_interventions(schedule: Schedule, result: Result) -> Iterator[Broken]:
    """What a person was asked about all instances, although the engine was not away for long."""
    away = strain(schedule, result.fired).away > UNSTARTED
    for one in result.interventions:
        if one["instance"] == "-" and not (away and one["kind"] in OUTAGE):
            why = f"{one['id']} ({one['kind']}): {one['reason']}"
            yield Broken("-", "no_needless_intervention", why)


def _unanswered(schedule: Schedule, result: Result) -> Iterator[str]:
    yield from result.errors
    for call, answer in zip(schedule.calls, result.answers, strict=True):
        if answer.status == 0 or answer.status >= 500:
            yield f"{call.method} {call.path} was never answered"
