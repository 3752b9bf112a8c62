"""An eternal monitor: check, compare, alert, sleep, and continue as new with a short history.

The engine keeps nothing that matters. Which round it is, how many checks failed in a row, which
incident is open and what was said of it are rows in the store; a run, be it the next, a repeated
or a lost one, asks them what is left to do (`health.plan`). A generation of the engine and a round
are not the same: a control event starts a new generation of the same round, whose check is not
made again.

Controls (stop, pause, resume, update) are kept in the inbox, and all of them are drained at once.
No wait is ever abandoned here: one that is still registered when the instance continues as new
would swallow the next event, so every wait has a timeout, which deregisters it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from workflows.definition import Acceptance, Workflow
from workflows.inputs import DAY, HOUR, WHOLE, Exact, Input, Whole, Word
from workflows.instance import End, Instance, Renewed, Yields
from workflows.messages import WAKE_UP, Answer, Message

# Our other signals mean nothing to a monitor, and would be carried from generation to generation.
INERT = ("wake", "cancel", "reconcile", "intervention")

# Eight groups, of which `::` stands for one or more that are zero (RFC 4291, 2.2).
_GROUP = "[0-9A-Fa-f]{1,4}"
_SHORT = "|".join(f"({_GROUP}:){{1,{n}}}(:{_GROUP}){{1,{7 - n}}}" for n in range(1, 7))
_GROUPS = f"({_GROUP}:){{7}}{_GROUP}|{_SHORT}|::({_GROUP}:){{0,6}}{_GROUP}|({_GROUP}:){{1,7}}:|::"
# The last two of them may be written as an IPv4 address (2.2.3).
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_BEFORE = "|".join(f"({_GROUP}:){{1,{n}}}:({_GROUP}:){{0,{5 - n}}}" for n in range(1, 6))
_MIXED = rf"(({_GROUP}:){{6}}|::({_GROUP}:){{0,5}}|{_BEFORE}){_BYTE}(\.{_BYTE}){{3}}"
_IPV6 = f"{_GROUPS}|{_MIXED}"
# No user and password: what an instance was started with is shown to everybody who may look.
URL = rf"^https?://([A-Za-z0-9._-]+|\[({_IPV6})\])(:[0-9]{{1,5}})?([/?][\x21-\x7e]*)?$"


# What was accepted once stays readable, whatever is asked of a URL by now: a check of one that
# cannot be asked fails, and somebody is told.
AcceptedUrl = Annotated[
    str,
    StringConstraints(
        pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+([/?][\x21-\x7e]*)?$", max_length=1000
    ),
]
Url = Annotated[str, StringConstraints(pattern=URL, max_length=1000)]
# An activity lasts no longer than 30 s.
CheckTimeout = Annotated[float, Field(gt=0, le=25, allow_inf_nan=False, strict=False)]
Interval = Annotated[float, Field(ge=0.05, le=365 * DAY, allow_inf_nan=False, strict=False)]
Patience = Annotated[float, Field(ge=0, le=365 * DAY, allow_inf_nan=False, strict=False)]
Threshold = Annotated[int, Field(ge=1, le=1000), WHOLE]


class Checks(Message):
    """What is checked, and how often. Durations are seconds."""

    url: AcceptedUrl
    check_timeout: CheckTimeout = 5
    healthy_interval: Interval = HOUR
    unhealthy_interval: Interval = 5 * 60
    critical_after: Threshold = Field(default=3, description="failures in a row")


class Damping(Exact):
    """When a service flaps: `more_than` so many incidents `within` so many seconds.

    Nobody is told of each of them then, until `stable_after` seconds have passed without one.
    `within=0`: it never flaps, and every warning and recovery is sent.
    """

    more_than: Whole = Field(default=4, ge=1, le=100)
    within: Patience = 24 * HOUR
    stable_after: Patience = 6 * HOUR


class Monitor(Checks, Input):
    """A service to be watched. Durations are seconds; `critical_after` is failures in a row."""

    url: Url
    notify: Word = "on-call"
    # None, and not the default: a start that names none is the same as before there was any.
    damping: Damping | None = None


def _accept(monitor: Monitor, subject: str, rules: None) -> Acceptance:
    """Without an id and a key, the service's URL is the monitor's identity."""
    name = hashlib.sha256(monitor.url.encode()).hexdigest()[:16]
    return Acceptance(id=f"monitor-{name}")


class Change(Message):
    """What an `update` changes; the rest stays as it is."""

    model_config = ConfigDict(extra="forbid")  # a person writes it, and means what is there

    url: Url | None = None
    check_timeout: CheckTimeout | None = None
    healthy_interval: Interval | None = None
    unhealthy_interval: Interval | None = None
    critical_after: Threshold | None = None


def _described(schema: dict[str, Any]) -> None:
    """Adds what the validator of `Control` asks for, for readers of the API's description."""
    fields = list(Change.model_fields)
    some = [{"required": [one], "properties": {one: {"not": {"type": "null"}}}} for one in fields]
    none = {"properties": {one: {"type": "null"} for one in fields}}
    schema["oneOf"] = [
        {
            "properties": {
                "action": {"const": "update"},
                "settings": {"type": "object", "anyOf": some},
            },
            "required": ["settings"],
        },
        {"properties": {"action": {"enum": ["stop", "pause", "resume"]}, "settings": none}},
    ]


class Control(Message):
    """A control event, from the API or raised past it."""

    model_config = ConfigDict(json_schema_extra=_described, extra="forbid")

    event_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")
    action: Literal["stop", "pause", "resume", "update"]
    settings: Change | None = None

    @model_validator(mode="after")
    def _settings_belong_to_update(self) -> Control:
        changes = self.settings is not None and bool(self.settings.model_dump(exclude_none=True))
        if changes != (self.action == "update"):
            raise ValueError("an update names the settings that it changes, and nothing else does")
        return self


class PlanRequest(Message):
    """Asks what is left to do. `raised` is what signals carried, heard at the time `at`."""

    instance: str
    generation: int
    at: datetime
    raised: list[Any] = Field(default_factory=list)
    told: bool = Field(default=False, description="what could be alerted has been, for now")


class Health(Message):
    """What a check found; a service that does not answer is unhealthy, and not an error."""

    healthy: bool
    reason: str | None = None


class Finding(Message):
    """The health found in a round, to be compared with the round before."""

    instance: str
    generation: int
    health: Health


class Alert(Message):
    """An alert that is due: of which incident, and what it says."""

    incident: int
    what: Literal["flapping", "warning", "critical", "recovery", "stable"]


class Round(Message):
    """What is left to do in a round: check, alert, stop, or sleep.

    The sleep is given in seconds (`None`: paused, until told), and not as a date: the store's clock
    and the engine's need not agree.
    """

    generation: int
    checks: Checks
    check: bool = False
    alerts: list[Alert] = Field(default_factory=list)
    stopped: bool = False
    sleep: float | None = None


class Untold(Message):
    """An alert that could not be sent, and why."""

    instance: str
    key: str
    answer: Answer


class Watch(Instance):
    """One generation of a monitor."""

    def plan(self, generation: int, *, told: bool = False) -> Yields[Round]:
        """Drains the controls, and asks what is left to do in this round."""
        raised = yield from self._heard()
        return (yield from self._plan(generation, raised, told=told))

    def check(self, checks: Checks) -> Yields[Health]:
        """Asks the service."""
        asked = yield from self._store("health.check", checks)
        return Health.model_validate(asked)

    def compare(self, generation: int, health: Health) -> Yields[Round]:
        """Compares with the round before, once, however often this is asked."""
        finding = Finding(instance=self.id, generation=generation, health=health)
        return Round.model_validate((yield from self._store("health.compare", finding)))

    def tell(self, alert: Alert, to: str) -> Yields[None]:
        """Sends an alert; one that cannot be sent stays due, and a person is asked."""
        name = f"incident/{alert.incident}/{alert.what}"
        letter = {"to": to, "template": f"health_{alert.what}", "about": self.id}
        answer = yield from self._try("health.alert", name, letter)
        if not answer.done:
            untold = Untold(instance=self.id, key=f"{self.id}/{name}", answer=answer)
            yield from self._store("health.ask", untold)

    def sleep(self, generation: int, seconds: float | None) -> Yields[bool]:
        """Sleeps for so long; `False` when a control came first."""
        timeout = None if seconds is None else timedelta(seconds=seconds)
        if timeout == timedelta(0):
            return True
        try:
            raised = yield self._ctx.wait_for_external_event("control", timeout=timeout)
        except TimeoutError:
            return True
        if raised not in (None, WAKE_UP):
            # It came past the API, and nobody else has kept it.
            yield from self._plan(generation, [raised])
        return False

    def _plan(self, generation: int, raised: list[Any], *, told: bool = False) -> Yields[Round]:
        look = PlanRequest(
            instance=self.id,
            generation=generation,
            at=self.turn_time(),
            raised=raised,
            told=told,
        )
        return Round.model_validate((yield from self._store("health.plan", look)))

    def _heard(self) -> Yields[list[Any]]:
        for name in INERT:
            yield from self._buffered(name)
        return [raised for raised in (yield from self._buffered("control")) if raised != WAKE_UP]

    def _buffered(self, name: str) -> Yields[list[Any]]:
        found: list[Any] = []
        while True:
            try:
                raised = yield self._ctx.wait_for_external_event(name, timeout=timedelta(0))
            except TimeoutError:
                return found
            if raised is not None:
                found.append(raised)


def health_monitor(watch: Watch, monitor: Monitor) -> Yields[End]:
    """Never ends, until it is told to: STOPPED."""
    # A hint: which round is next is in the store, and a round that is known is not checked again.
    round = yield from watch.plan(watch.carried.get("generation", 1))
    if round.check:
        health = yield from watch.check(round.checks)
        round = yield from watch.compare(round.generation, health)
    if round.alerts:
        for alert in round.alerts:
            yield from watch.tell(alert, monitor.notify)
        round = yield from watch.plan(round.generation, told=True)
    if round.stopped:
        return End("STOPPED")
    slept = yield from watch.sleep(round.generation, round.sleep)
    raise Renewed(generation=round.generation + slept)


V1 = Workflow(
    kind="health_monitor",
    version="v1",
    path="/monitors",
    input=Monitor,
    accept=_accept,
    # From then on this server asks that URL for ever.
    starters={"operator"},
    body=health_monitor,
    helper=Watch,
    carried=("generation",),
    done={"STOPPED"},
    eternal=True,
)
