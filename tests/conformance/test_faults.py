"""Every fault without a runtime: how it is written, where it strikes, what it arms and injects."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any, cast

import pytest

from conformance import extensions, faults
from conformance.clusters import Cluster
from conformance.errors import ExtensionError
from conformance.events import Event
from conformance.faults.kind import FaultKind, HeldFault, Scene
from conformance.faults.recovery import inject
from conformance.gates.rules import InFlightPolicy
from conformance.plan.contract import Request, Signal
from conformance.plan.injection import Injection, hold
from conformance.plan.points import MeasuredPath, Point
from conformance.plan.scenario import Fault, Scenario, ScenarioError
from conformance.topology import present
from tests.conformance.examples import EFFECT, KILL, LOST, a_path, measured

DUPLICATE = Fault("message", "duplicate")
NOTHING = Fault("nobody", "none")
DEBIT = Point("effect:bank.debit:1:before", "", "{id}/debit")
MATCH = {"instance": "i-1", "operation": "bank.debit", "key": "i-1/debit"}


def armed(point: Point, fault: Fault, *script: dict[str, Any]) -> Injection:
    return faults.kind_of(fault).arm(point, a_path(script=script), "i-1")


# --- what is armed -------------------------------------------------------------------------------


def test_a_process_fault_holds_a_message_at_the_gate() -> None:
    found = armed(Point("turn:1:dispatch", ""), KILL)
    rule = {"instance": "i-1", "point": "turn:1:dispatch", "action": "hold"}
    assert found == Injection("held", gate=(rule,))


def test_a_duplicate_is_one_rule_of_the_gate() -> None:
    found = armed(Point("activity:debit:1:completion", ""), DUPLICATE)
    assert (found.proof, found.gate[0]["action"]) == ("gate", "duplicate")


def test_what_a_client_sends_twice_and_what_is_over_needs_no_rule() -> None:
    start = Point("client:start", "")
    assert armed(start, DUPLICATE) == Injection("client", repeat="client:start")
    assert armed(start, NOTHING) == Injection("none")
    assert armed(Point("end:acknowledged", ""), KILL) == Injection("held")


def test_an_effect_is_held_at_the_witness() -> None:
    assert armed(DEBIT, KILL).witness == ({"match": MATCH, "then": {"hold": "before"}},)


def test_a_hold_is_added_to_what_the_path_wants_of_the_same_request() -> None:
    ours = {"match": {"operation": "bank.debit"}, "then": {"status": 503}, "attempts": [1]}
    others = {"match": {"operation": "mail.send"}, "then": {"hang": True}}
    held, *own = armed(DEBIT, KILL, ours, others).witness
    assert held == {"match": MATCH, "then": {"status": 503, "hold": "before"}, "attempts": [1]}
    assert [rule["match"]["operation"] for rule in own] == ["bank.debit", "mail.send"]


def test_a_hold_is_not_added_to_a_rule_for_another_key() -> None:
    other = {"match": {"operation": "bank.debit", "key": "{id}/fee"}, "then": {"status": 503}}
    assert armed(DEBIT, KILL, other).witness[0]["then"] == {"hold": "before"}


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        ("5xx", {"status": 503}),
        ("timeout", {"hang": True}),
        ("lost", {"drop": True}),
        ("slow", {"delay": 2.0}),
    ],
)
def test_an_outage_meets_the_first_attempt_before_the_path_s_own_rules(
    kind: str, then: dict[str, Any]
) -> None:
    own = {"match": {"operation": "bank.debit"}, "then": {"status": 500}}
    found = armed(DEBIT, Fault("witness", kind), own)
    assert found.proof == "witness"
    assert found.witness[0] == {"match": MATCH, "then": then, "attempts": [1]}
    assert len(found.witness) == 2


def test_a_refused_connection_holds_like_a_process_fault() -> None:
    refused = Fault("witness", "refused")
    assert isinstance(faults.kind_of(refused), HeldFault)
    assert armed(DEBIT, refused).witness[0]["then"] == {"hold": "before"}


def names_of(fault: Fault, path: MeasuredPath) -> list[str]:
    return [point.name for point in faults.kind_of(fault).points(path)]


def test_every_fault_has_its_own_points() -> None:
    signal = Signal(requests=(Request(url="{app}/go"),))
    undecided = "effect:mail.send:1:before"
    messages = "start:request start:response turn:1:dispatch turn:1:completion end:acknowledged"
    path = measured(f"{messages} {EFFECT} {undecided}", a_path(signals=(signal,)))
    assert len(names_of(KILL, path)) == 8
    assert names_of(LOST, path) == ["effect:bank.debit:1:before"], "only where all is decided"
    assert names_of(Fault("witness", "refused"), path) == names_of(LOST, path)
    assert names_of(NOTHING, path) == ["client:start"]
    assert names_of(DUPLICATE, path) == [
        "client:start",
        "client:signal-1",
        "start:request",
        "turn:1:dispatch",
        "turn:1:completion",
    ]


# --- what is injected ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("victim", "kind", "expected"),
    [
        ("app", "kill", "drop drop drop"),
        ("daprd", "kill", "drop drop drop"),
        ("daprd", "cut", "pass pass pass"),
        ("app", "pause", "pass pass pass"),
        ("app", "stop", "drop pass pass"),
        ("daprd", "pause", "pass pass pass"),
        ("scheduler", "kill", "pass pass pass"),
        ("store", "cut", "pass pass pass"),
    ],
)
def test_messages_die_with_the_process_at_the_end_of_their_link(
    victim: str, kind: str, expected: str
) -> None:
    found = faults.kind_of(Fault(victim, kind))
    assert isinstance(found, HeldFault)
    dispatch, completion, request = expected.split()
    policy = {"dispatch": dispatch, "completion": completion, "request": request}
    assert found.in_flight(victim) == InFlightPolicy.model_validate(policy)


class Obedient:
    """A cluster that writes down what is done to it; what is in `broken` does not show."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.done: list[str] = []
        self.topology = present(gated=True, servers={"store": 5432}, shared=True)

    def __getattr__(self, name: str) -> Any:
        def called(*names: str, **_: Any) -> Any:
            self.done.append(" ".join([name, *names]))
            answers: dict[str, Any] = {
                "identity": "pid 1",
                "state": "running" if "state" in self.broken else "paused",
            }
            return answers.get(name)

        return called

    def connect(self, link: str) -> socket.socket:
        self.done.append(f"connect {link}")
        if link not in self.broken:
            raise ConnectionRefusedError
        return socket.socket()


async def injected(fault: str, cluster: Obedient) -> tuple[bool, str]:
    found = faults.parse(fault)
    kind = faults.kind_of(found)
    assert isinstance(kind, HeldFault)

    async def release() -> None:
        cluster.done.append("release")

    events: list[Event] = []
    scene = Scene(cast(Cluster, cluster), None, cast(Any, found.victim), release)
    proof = await inject(kind, scene, events.append, 1.0)
    return proof.proven, proof.text


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: real(0))


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        ("app:kill", ["kill app", "release"]),
        ("app:pause", ["pause app", "state app", "state app", "resume app", "release"]),
        (
            "scheduler:cut",
            [
                "cut daprd-scheduler",
                "connect daprd-scheduler",
                "restore daprd-scheduler",
                "release",
            ],
        ),
        (
            "outage:refused",
            ["cut app-witness", "connect app-witness", "restore app-witness", "release"],
        ),
    ],
)
async def test_a_fault_is_injected_undone_and_what_is_held_released(
    fault: str, steps: list[str]
) -> None:
    cluster = Obedient()
    assert (await injected(fault, cluster))[0]
    assert [step for step in cluster.done if not step.startswith(("identity", "wait"))] == steps


@pytest.mark.parametrize(
    ("fault", "broken", "why", "undone"),
    [
        ("store:cut", "app-store", "not refused: app-store", "restore app-store daprd-store"),
        ("app:pause", "state", "app was to be paused, and was running", "resume app"),
    ],
)
async def test_a_fault_that_does_not_show_is_undone_and_not_proven(
    fault: str, broken: str, why: str, undone: str
) -> None:
    cluster = Obedient(broken)
    proven, text = await injected(fault, cluster)
    assert (proven, undone in cluster.done, "release" in cluster.done) == (False, True, True)
    assert text.startswith(why)


# --- how faults are written ----------------------------------------------------------------------


def test_everything_is_the_matrix_and_more_and_nothing_twice() -> None:
    every = faults.everything()
    assert len(set(every)) == len(every)
    assert set(faults.matrix()) < set(every)
    assert len(faults.matrix()) == 18
    assert NOTHING not in every


def test_a_scenario_is_read_as_it_is_written() -> None:
    for fault in (*faults.everything(), NOTHING):
        written = str(Scenario("a/b", Point("activity:x!y:1:dispatch", ""), fault))
        assert faults.parse_scenario(written) == ("a/b", "activity:x!y:1:dispatch", fault)
    assert faults.parse("outage:lost") == LOST
    assert faults.parse("duplicate") == DUPLICATE
    assert faults.parse("none") == NOTHING


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a/b", "path@point!victim:fault"),
        ("a/b@turn:1:dispatch", "path@point!victim:fault"),
        ("@turn:1:dispatch!app:kill", "path@point!victim:fault"),
        ("a/b@turn:1:dispatch!app:tickle", "there is no fault app:tickle: `conformance faults`"),
        ("a/b@turn:1:dispatch!witness:kill", "there is no fault witness:kill"),
    ],
)
def test_a_scenario_that_is_none_is_said(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        faults.parse_scenario(text)


def test_the_reference_has_every_fault_with_what_proves_it() -> None:
    text = faults.reference()
    for kind in faults.kinds().values():
        assert kind.alias in text if kind.alias else f":{kind.name}\n" in text
    assert text.count("Proven") == len(faults.kinds()) - 1, "nothing proves that nothing happened"


# --- faults of others ----------------------------------------------------------------------------


class Flicker(FaultKind):
    """Of somebody else."""

    name = "flicker"
    victims = ("app",)

    def arm(self, point: Point, path: Any, instance: str) -> Injection:
        return hold(point, path, instance)


class Impostor(Flicker):
    """Named as one of ours."""

    name = "kill"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def install(value: str) -> None:
        found = EntryPoints([EntryPoint("theirs", value, faults.GROUP)])
        monkeypatch.setattr(extensions, "entry_points", lambda group: found)
        faults.kinds.cache_clear()

    yield install
    faults.kinds.cache_clear()


def test_a_fault_of_somebody_else_is_known_everywhere(installed: Any) -> None:
    installed(f"{__name__}:Flicker")
    assert faults.parse("app:flicker") in faults.everything()
    assert "app:flicker\n    Of somebody else." in faults.reference()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("nowhere:Flicker", "nowhere:Flicker cannot be imported: ModuleNotFoundError"),
        (f"{__name__}:DEBIT", "theirs is no subclass of FaultKind"),
        (f"{__name__}:Impostor", "there are two faults kill; rename one"),
    ],
)
def test_a_fault_of_somebody_else_that_cannot_be_used_is_said(
    installed: Any, value: str, complaint: str
) -> None:
    installed(value)
    with pytest.raises(ExtensionError, match=complaint):
        faults.kinds()
