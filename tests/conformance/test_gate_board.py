"""What rules make of the messages of an instance, and who is told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from conformance.gates.board import Board
from conformance.gates.instance import Kept
from conformance.gates.rules import InFlightPolicy, NewRule

ID = "order-1"
PASS = InFlightPolicy()
DROP = InFlightPolicy(dispatch="drop", completion="drop", request="drop")


def rule(point: str, action: str, **more: Any) -> NewRule:
    return NewRule.model_validate({"instance": ID, "point": point, "action": action, **more})


def test_a_held_instance_is_held_until_it_is_released() -> None:
    board = Board()
    board.add([rule("turn:1:dispatch", "hold")])
    instance = board.instance(ID)
    settled: list[bool] = []
    for _ in range(2):
        assert board.meet(instance, "turn:1:dispatch")
        board.keep(instance, Kept("dispatch", "turn:1:dispatch", settled.append))
    assert (board.held, instance.held) == (1, "turn:1:dispatch")
    assert instance.fired == ["turn:1:dispatch"]
    assert not instance.idle
    assert board.release(PASS) == 2
    assert settled == [True, True]
    assert (board.held, instance.held) == (0, None)
    assert board.meet(instance, "turn:1:dispatch") is None
    held = [action for _, _, action in instance.messages]
    assert held == ["held", "held", "released", "released", "passed"]


def test_one_instance_is_released_without_the_others() -> None:
    board = Board()
    settled: list[str] = []
    for id_ in ("a", "b"):
        board.add([NewRule(instance=id_, point="turn:1:completion", action="hold")])
        instance = board.instance(id_)
        board.meet(instance, "turn:1:completion")

        def settle(go: bool, id_: str = id_) -> None:
            settled.append(f"{id_} {go}")

        board.keep(instance, Kept("completion", "turn:1:completion", settle))
    assert board.release(DROP, "a") == 1
    assert board.release(DROP, "unknown") == 0
    assert (settled, board.held) == (["a False"], 1)
    assert board.release(PASS) == 1
    assert settled == ["a False", "b True"]


def test_a_broken_link_loses_held_completions_only() -> None:
    board = Board()
    board.add([rule("turn:1:completion", "hold"), rule("event:1:request", "hold")])
    instance = board.instance(ID)
    settled: list[bool] = []
    for kept in (
        Kept("completion", "turn:1:completion", settled.append),
        Kept("request", "event:1:request", settled.append),
    ):
        board.meet(instance, kept.point)
        board.keep(instance, kept)
    board.lose()
    assert [kept.kind for kept in instance.kept] == ["request"]
    assert instance.held == "turn:1:completion"
    assert board.release(PASS) == 1
    assert settled == [True]


@pytest.mark.parametrize("action", ["duplicate", "drop", "reset"])
def test_every_other_rule_is_for_one_message(action: str) -> None:
    board = Board()
    board.add([rule("turn:2:dispatch", action), rule("turn:2:dispatch", "delay", seconds=2)])
    instance = board.instance(ID)
    met = [board.meet(instance, "turn:2:dispatch") for _ in range(3)]
    assert [each and each.spec.action for each in met] == [action, "delay", None]
    assert [each.view()["fired"] for each in board.rules] == [1, 1]


def test_rules_can_be_taken_back() -> None:
    board = Board()
    board.add([rule("turn:1:dispatch", "hold")])
    board.clear_rules()
    assert board.meet(board.instance(ID), "turn:1:dispatch") is None


async def test_whoever_waits_is_told_of_what_comes() -> None:
    board = Board()
    board.touch(board.instance("before"))
    version = (await board.changes(0, 0))["version"]
    assert await board.changes(version, 0.01) == {"version": version, "instances": {}}
    waiting = asyncio.ensure_future(board.changes(version, 10))
    await asyncio.sleep(0)
    board.touch(board.instance("after"))
    told = await asyncio.wait_for(waiting, 1)
    assert set(told["instances"]) == {"after"}
    assert set((await board.changes(0, 0))["instances"]) == {"before", "after"}


@pytest.mark.parametrize(
    ("point", "action", "more", "complaint"),
    [
        ("turn:0:dispatch", "hold", {}, "not a point"),
        ("turn:1", "hold", {}, "not a point"),
        ("activity::1:dispatch", "hold", {}, "not a point"),
        ("effect:charge:1:before", "hold", {}, "not a point"),
        ("turn:1:dispatch", "burn", {}, "action"),
        ("turn:1:dispatch", "delay", {}, "needs them"),
        ("turn:1:dispatch", "delay", {"seconds": 0}, "greater than 0"),
        ("turn:1:dispatch", "hold", {"seconds": 1}, "belong to a delay"),
        ("start:response", "duplicate", {}, "twice"),
        ("end:acknowledged", "drop", {}, "only be held"),
        ("turn:1:dispatch", "hold", {"extra": 1}, "Extra"),
        ("turn:1:dispatch", "hold", {"instance": ""}, "at least 1"),
    ],
)
def test_bad_rules_are_refused(
    point: str, action: str, more: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        rule(point, action, **more)


def test_an_activity_may_have_any_name() -> None:
    assert rule("activity:shop:charge v2:10:completion", "hold").point.endswith(":completion")
