"""The engine without a runtime: what is chosen, where it is aimed, and what its words mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from conformance.events import Judged
from conformance.plan import patterns
from conformance.plan.contract import Ending
from conformance.plan.points import MeasuredPath, Point
from conformance.plan.scenario import Scenario
from conformance.run import matrix
from conformance.run.choice import Choice
from conformance.run.matrix import Score
from tests.conformance.examples import EFFECT, KILL, TURNS, a_path, measured

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
