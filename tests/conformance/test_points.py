"""Points: in the order of time, the same state only once, and only those that every run crosses."""

from __future__ import annotations

from typing import Any

from conformance.plan.points import MeasuredPath, Point, distinct
from conformance.run import measure
from conformance.run.trial import Trial
from tests.conformance.examples import a_path


def ledger(*rows: tuple[float, str, str, str]) -> dict[str, list[dict[str, Any]]]:
    attempts = [
        {
            "at": f"2026-01-01T00:00:{at:06.3f}+00:00",
            "operation": operation,
            "key": key,
            "result": result,
        }
        for at, operation, key, result in rows
    ]
    return {"attempts": attempts, "effects": []}


def test_an_effect_is_two_points_and_its_second_attempt_none() -> None:
    trial = Trial("i-1", a_path())
    crossed = measure._effects(
        trial,
        ledger(
            (1, "bank.debit", "i-1/debit", "applied"),
            (2, "bank.debit", "i-1/debit", "duplicate"),
            (3, "bank.debit", "random", "applied"),
            (4, "mail.send", "i-1/mail", "scripted-503"),
        ),
    )
    assert [(each.point.name, each.point.key) for each in crossed] == [
        ("effect:bank.debit:1:before", "{id}/debit"),
        ("effect:bank.debit:1:after", "{id}/debit"),
        ("effect:bank.debit:2:before", None),
        ("effect:bank.debit:2:after", None),
        ("effect:mail.send:1:before", "{id}/mail"),
    ]
    assert [each.told for each in crossed] == [
        None,
        "bank.debit applied",
        None,
        "bank.debit applied",
        "mail.send scripted-503",
    ]


def test_points_are_in_the_order_of_time_and_know_what_was_before() -> None:
    trial = Trial("i-1", a_path())
    rows = [
        {"point": "turn:2:dispatch", "label": "turn 2 (debit completed)", "at": _at(9)},
        {"point": "turn:1:dispatch", "label": "turn 1 (started)", "at": _at(1)},
        {"point": "activity:debit:1:dispatch", "label": "debit", "at": _at(2)},
    ]
    effects = measure._effects(trial, ledger((3, "bank.debit", "i-1/debit", "applied")))
    ordered = measure._in_order(rows, effects)
    assert [(each.name, each.before) for each in ordered] == [
        ("turn:1:dispatch", ()),
        ("activity:debit:1:dispatch", ("turn 1 (started)",)),
        ("effect:bank.debit:1:before", ("turn 1 (started)",)),
        ("effect:bank.debit:1:after", ("turn 1 (started)",)),
        ("turn:2:dispatch", ("turn 1 (started)", "bank.debit applied")),
    ]
    assert [each.after for each in ordered] == [0, 1, 2, 2, 8]
    assert [each.silence for each in ordered] == [0, 1, 1, 1, 6]


def _at(second: int) -> float:
    return 1_767_225_600.0 + second  # 2026-01-01


def test_the_same_point_after_something_else_is_another_one() -> None:
    same = (Point("turn:1:dispatch", "turn 1"), Point("turn:2:dispatch", "turn 2", None, ("ok",)))
    other = (same[0], Point("turn:2:dispatch", "turn 2", None, ("refused",)))
    first, second, third = distinct(
        [
            MeasuredPath(a_path(), same, ()),
            MeasuredPath(a_path("order/refused"), other, ()),
            MeasuredPath(a_path("another/done"), same, ()),
        ],
        "states",
    )
    assert first.points == same
    assert second.points == other[1:]
    assert third.points == same, "a point of another workflow is never the same"


def test_a_kind_of_point_is_judged_once_and_every_path_if_that_is_wanted() -> None:
    turns = (
        Point("turn:2:dispatch", "turn 2, after a"),
        Point("turn:5:dispatch", "turn 5, after a"),
    )
    paths = [MeasuredPath(a_path(), turns, ()), MeasuredPath(a_path("order/refused"), turns, ())]
    kinds = distinct(paths, "kinds")
    assert [course.points for course in kinds] == [turns[:1], ()]
    assert distinct(paths, "paths") == paths


def test_a_point_that_not_every_run_crosses_is_unstable() -> None:
    always, now_and_then = Point("turn:1:dispatch", ""), Point("turn:2:dispatch", "")
    course = measure._measured(a_path(), [[always, now_and_then], [always]])
    assert course.points == (always,)
    assert course.unstable == ("turn:2:dispatch",)


def test_a_key_that_differs_from_run_to_run_is_not_aimed_at() -> None:
    runs = [[Point("effect:mail.send:1:before", "", f"{{id}}/{n}")] for n in range(2)]
    assert measure._measured(a_path(), runs).points[0].key is None


def test_a_way_is_as_long_as_in_the_slowest_run() -> None:
    quick, slow = (Point("turn:1:dispatch", "", after=s, silence=s / 2) for s in (1.0, 3.0))
    (point,) = measure._measured(a_path(), [[quick], [slow]]).points
    assert (point.after, point.silence) == (3.0, 1.5)
