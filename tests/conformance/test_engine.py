"""The engine without a runtime: what is chosen, where it is aimed, and what its words mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from conformance.events import Judged
from conformance.faults.processes import InFlight, in_flight
from conformance.plan import patterns, scenario
from conformance.plan.contract import Ending, Request, Signal
from conformance.plan.injection import holds, injection, points_for
from conformance.plan.points import MeasuredPath, Point
from conformance.plan.scenario import DUPLICATE, NOTHING, Fault, Scenario, ScenarioError
from conformance.run import choice, matrix
from conformance.run.choice import Choice
from conformance.run.matrix import Score
from tests.conformance.examples import EFFECT, KILL, LOST, TURNS, a_path, measured

# --- what is chosen ------------------------------------------------------------------------------


def chosen(wanted: Choice, *paths: MeasuredPath) -> list[str]:
    return [str(each) for found in wanted.scenarios(paths).values() for each in found]


def test_a_choice_takes_what_its_patterns_fit() -> None:
    paths = (measured(f"{TURNS} {EFFECT}"), measured(TURNS, a_path("other/done")))
    wanted = Choice((KILL,), paths=("order/*",), points=("*:dispatch", "effect:*:after"))
    assert chosen(wanted, *paths) == [
        "order/done@turn:1:dispatch!app:kill",
        "order/done@effect:bank.debit:1:after!app:kill",
    ]
    assert chosen(Choice((KILL,), paths=("nothing",)), *paths) == []


def test_a_choice_of_single_scenarios_takes_these_only() -> None:
    only = frozenset({"order/done@turn:1:completion!app:kill"})
    assert chosen(Choice((KILL,), only=only), measured(TURNS)) == list(only)


def test_a_beginning_in_common_is_judged_once_unless_every_path_is_wanted() -> None:
    paths = (measured(TURNS), measured(f"{TURNS} turn:2:dispatch", a_path("order/refused")))
    assert chosen(Choice((KILL,)), *paths) == [
        "order/done@turn:1:dispatch!app:kill",
        "order/done@turn:1:completion!app:kill",
        "order/refused@turn:2:dispatch!app:kill",
    ]
    assert len(chosen(Choice((KILL,), depth="paths"), *paths)) == 5


def test_the_beginning_is_judged_where_the_path_before_it_was_not_chosen() -> None:
    paths = (measured(TURNS), measured(TURNS, a_path("order/refused")))
    assert len(chosen(Choice((KILL,), paths=("order/refused",)), *paths)) == 2


def test_everything_is_the_matrix_and_more_and_nothing_twice() -> None:
    every = choice.everything()
    assert len(set(every)) == len(every)
    assert set(choice.matrix()) < set(every)
    assert len(choice.matrix()) == 15


@pytest.mark.parametrize(
    ("count", "size", "parts"),
    [(10, 400, [10]), (400, 400, [400]), (403, 400, [202, 201]), (5, 2, [2, 2, 1])],
)
def test_batches_are_equal_parts(count: int, size: int, parts: list[int]) -> None:
    todo = [(Scenario("p", Point(f"turn:{n}:dispatch", ""), KILL), 1) for n in range(count)]
    sizes = []
    while todo:
        now, todo = matrix._next(todo, size)
        sizes.append(len(now))
    assert sizes == parts


def test_whoever_has_tried_before_goes_in_a_batch_of_its_own() -> None:
    again, first = (Scenario("p", Point(f"turn:{n}:dispatch", ""), KILL) for n in (1, 2))
    assert matrix._next([(first, 1), (again, 2)], 10) == ([(first, 1)], [(again, 2)])


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [("pass pass", 0), ("pass unknown", 2), ("unknown fail", 1), ("", 2)],
)
def test_the_exit_code_is_the_worst_verdict_and_nothing_judged_is_unknown(
    verdicts: str, code: int
) -> None:
    assert Score([a_verdict(word) for word in verdicts.split()]).exit == code


def a_verdict(word: Any) -> Judged:
    names = ("batch", "scenario", "path", "workflow", "point", "label", "boundary")
    texts: dict[str, Any] = dict.fromkeys((*names, "victim", "fault", "instance"), "")
    return Judged(**texts, verdict=word, fired=True, seconds=0.0)


# --- injections ---------------------------------------------------------------------------------


def injected(point: Point, fault: Fault, *script: dict[str, Any]) -> Any:
    path = a_path(script=script)
    return injection(Scenario(path.name, point, fault), path, "i-1")


DEBIT = Point("effect:bank.debit:1:before", "", "{id}/debit")
MATCH = {"instance": "i-1", "operation": "bank.debit", "key": "i-1/debit"}


def test_a_process_fault_holds_a_message_at_the_gate() -> None:
    found = injected(Point("turn:1:dispatch", ""), KILL)
    rule = {"instance": "i-1", "point": "turn:1:dispatch", "action": "hold"}
    assert (found.gate, found.witness, found.fault) == ([rule], [], rule)


def test_a_duplicate_is_one_rule_of_the_gate() -> None:
    found = injected(Point("activity:debit:1:completion", ""), DUPLICATE)
    assert found.gate[0]["action"] == "duplicate"


def test_what_a_client_sends_and_what_is_over_needs_no_rule() -> None:
    for point, fault in (("client:start", DUPLICATE), ("client:start", NOTHING)):
        assert injected(Point(point, ""), fault).gate == []
    assert injected(Point("end:acknowledged", ""), KILL).gate == []


def test_an_effect_is_held_at_the_witness() -> None:
    assert injected(DEBIT, KILL).witness == [{"match": MATCH, "then": {"hold": "before"}}]


def test_a_hold_is_added_to_what_the_path_wants_of_the_same_request() -> None:
    ours = {"match": {"operation": "bank.debit"}, "then": {"status": 503}, "attempts": [1]}
    others = {"match": {"operation": "mail.send"}, "then": {"hang": True}}
    hold, *own = injected(DEBIT, KILL, ours, others).witness
    assert hold == {"match": MATCH, "then": {"status": 503, "hold": "before"}, "attempts": [1]}
    assert [rule["match"]["operation"] for rule in own] == ["bank.debit", "mail.send"]


def test_a_hold_is_not_added_to_a_rule_for_another_key() -> None:
    other = {"match": {"operation": "bank.debit", "key": "{id}/fee"}, "then": {"status": 503}}
    assert injected(DEBIT, KILL, other).witness[0]["then"] == {"hold": "before"}


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
    found = injected(DEBIT, Fault("witness", kind), own)
    assert found.witness[0] == {"match": MATCH, "then": then, "attempts": [1]} == found.fault
    assert len(found.witness) == 2


def test_a_refused_connection_holds_like_a_process_fault() -> None:
    assert holds(Fault("witness", "refused"))
    assert injected(DEBIT, Fault("witness", "refused")).witness[0]["then"] == {"hold": "before"}
    assert not holds(LOST)
    assert not holds(DUPLICATE)


def names_of(fault: Fault, path: MeasuredPath) -> list[str]:
    return [point.name for point in points_for(path, fault)]


def test_every_fault_has_its_own_points() -> None:
    signal = Signal(requests=(Request(url="{app}/go"),))
    undecided = "effect:mail.send:1:before"
    messages = "start:request start:response turn:1:dispatch turn:1:completion end:acknowledged"
    path = measured(f"{messages} {EFFECT} {undecided}", a_path(signals=(signal,)))
    assert len(names_of(KILL, path)) == 8
    assert names_of(LOST, path) == ["effect:bank.debit:1:before"], "only where all is decided"
    assert names_of(NOTHING, path) == ["client:start"]
    assert names_of(DUPLICATE, path) == [
        "client:start",
        "client:signal-1",
        "start:request",
        "turn:1:dispatch",
        "turn:1:completion",
    ]


# --- faults and scenarios ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("victim", "kind", "expected"),
    [
        ("app", "kill", InFlight("drop", "drop", "drop")),
        ("daprd", "cut", InFlight("pass", "pass", "pass")),
        ("app", "pause", InFlight("pass", "pass", "pass")),
        ("app", "stop", InFlight("drop", "pass", "pass")),
        ("daprd", "pause", InFlight("pass", "pass", "pass")),
        ("scheduler", "kill", InFlight("pass", "pass", "pass")),
        ("store", "cut", InFlight("pass", "pass", "pass")),
    ],
)
def test_messages_die_with_the_process_at_the_end_of_their_link(
    victim: str, kind: str, expected: InFlight
) -> None:
    assert in_flight(victim, kind) == expected


def test_a_scenario_is_read_as_it_is_written() -> None:
    for fault in (KILL, LOST, DUPLICATE, NOTHING, Fault("store", "cut")):
        written = str(Scenario("a/b", Point("activity:x!y:1:dispatch", ""), fault))
        assert scenario.parse(written) == ("a/b", "activity:x!y:1:dispatch", fault)
    assert Fault.parse("outage:lost") == LOST
    assert Fault.parse("duplicate") == DUPLICATE


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a/b", "is written path@point!victim:fault"),
        ("a/b@turn:1:dispatch", "is written path@point!victim:fault"),
        ("@turn:1:dispatch!app:kill", "is written path@point!victim:fault"),
        ("a/b@turn:1:dispatch!app:tickle", r"app:tickle is no fault: \{app,daprd"),
        ("a/b@turn:1:dispatch!witness:kill", "witness:kill is no fault"),
    ],
)
def test_a_scenario_that_is_none_is_said(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        scenario.parse(text)


# --- effects as a target writes them -------------------------------------------------------------


def effects(*texts: str) -> list[dict[str, Any]]:
    found = []
    for text in texts:
        operation, *fields = text.split()
        detail = dict(field.split("=") for field in fields)
        found.append({"operation": operation, "key": text, "detail": detail})
    return found


@pytest.mark.parametrize(
    ("declared", "happened", "missing", "unexpected"),
    [
        (("a.do", "b.do"), ("b.do", "a.do"), [], []),
        (("a.do", "a.do"), ("a.do",), ["a.do"], []),
        (("a.do",), ("a.do", "b.do"), [], ["b.do (b.do)"]),
        (("m.send to=x", "m.send"), ("m.send to=x", "m.send to=y"), [], []),
        (("m.send", "m.send to=x"), ("m.send to=x", "m.send to=y"), [], []),
        (("m.send to=x",), ("m.send to=y",), ["m.send to=x"], ["m.send (m.send to=y)"]),
    ],
)
def test_each_effect_counts_for_one_pattern(
    declared: Sequence[str], happened: Sequence[str], missing: list[str], unexpected: list[str]
) -> None:
    ending = Ending(outcome="DONE", effects=tuple(declared))
    assert patterns.missing(ending, effects(*happened)) == missing
    assert patterns.unexpected(ending, effects(*happened)) == unexpected
    assert patterns.complete(ending, effects(*happened)) is not bool(missing or unexpected)
