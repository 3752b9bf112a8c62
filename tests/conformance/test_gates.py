"""The sidecar gate between our application and a real sidecar."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from dapr.ext.workflow._durabletask.internal import protos as pb

from tests.conformance.gated import Bench, Gate, gated_stack
from tests.support.shop import Shop, order, some_id, until
from tests.support.tokens import token

NEVER = {"callbacks": {"carrier.picked_up": {"never": True}}}
DONE = ["directory.create_record", "directory.reserve_capacity", "notifier.send"]
DONE = [*DONE, "directory.update_dashboard"]
NOTIFY = "activity:notifier.send:1:dispatch"
ACTIVITY = re.compile("activity:.*:dispatch")
CROSSED = ("StartInstance", "CompleteOrchestratorTask", "CompleteActivityTask")

Start = Callable[[Iterable[str]], None]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with gated_stack(tmp_path_factory.mktemp("gated")) as bench:
        yield bench


@pytest.fixture(scope="module")
def shop(bench: Bench) -> Iterator[Shop]:
    stack = bench.stack
    visitor = Shop(stack.url, stack.downstream_url).authorize(token(stack, "op-1", "operator"))
    yield visitor
    visitor.http.close()


@pytest.fixture
def gate(bench: Bench, shop: Shop) -> Iterator[Gate]:
    bench.stack.wait_ready()
    bench.gate.ask("DELETE", "/instances")
    yield bench.gate
    bench.gate.ask("POST", "/restore")
    bench.gate.ask("DELETE", "/instances")
    shop.http.delete(f"{shop.downstream_url}/script")


@pytest.fixture
def start(shop: Shop, gate: Gate) -> Iterator[Start]:
    """Starts tasks without waiting for the answers: a start that is held is not answered."""
    asked: list[Future[str]] = []
    with ThreadPoolExecutor(40) as pool:

        def started(ids: Iterable[str]) -> None:
            asked.extend(pool.submit(shop.start, task(id), "/tasks") for id in ids)

        yield started
        gate.release()
    for each in asked:
        each.result()


@dataclass(frozen=True)
class Plain:
    """Tasks that nothing happened to, and what the gate saw of them."""

    ids: list[str]
    instances: dict[str, Any]
    points: list[list[tuple[str, str]]]
    crossed: list[int]


@pytest.fixture(scope="module")
def plain(bench: Bench, shop: Shop) -> Plain:
    gate, ids = bench.gate, [some_id("plain") for _ in range(20)]
    before = gate.ask("GET", "/counts")
    shop.start_all([task(id) for id in ids], "/tasks")
    all_done(shop, ids)
    for id in ids:
        gate.wait(id, ended="COMPLETED", idle=True, held=None, fired=[], generations=1)
    after = gate.ask("GET", "/counts")
    none = {"messages": 0}
    crossed = [after[name]["messages"] - before.get(name, none)["messages"] for name in CROSSED]
    return Plain(ids, gate.instances(), [gate.points(id) for id in ids], crossed)


def task(id: str) -> dict[str, Any]:
    return {"id": id, "title": "Look into it", "assignee": "ada", "effort": 5}


def held_everywhere(plain: Plain, gate: Gate, start: Start) -> dict[str, str]:
    """One task for each point, held there."""
    ids = {some_id("held"): point for point, _ in plain.points[0]}
    rules = [{"instance": id, "point": point, "action": "hold"} for id, point in ids.items()]
    gate.ask("POST", "/rules", json=rules)
    start(ids)

    def all_held() -> bool:
        seen = gate.instances()
        return all(seen.get(id, {}).get("held") == point for id, point in ids.items())

    until(all_held, 20, "every task held at its point")
    assert gate.state()["held"] == len(ids)
    return ids


def all_done(shop: Shop, ids: Iterable[str], timeout: float = 30) -> None:
    assert {id: shop.ended(id, timeout) for id in ids} == dict.fromkeys(ids, "DONE")
    assert {id: shop.effects(id) for id in ids} == dict.fromkeys(ids, DONE)


def test_without_rules_it_is_transparent(plain: Plain) -> None:
    seen = [plain.instances[id] for id in plain.ids]
    turns = sum(each["turns"] for each in seen)
    activities = sum(sum(each["completed"].values()) for each in seen)
    assert plain.crossed == [20, turns, activities]


def test_points_are_the_same_each_time(plain: Plain) -> None:
    first = plain.points[0]
    assert all(sorted(each) == sorted(first) for each in plain.points)
    assert ("turn:1:dispatch", "turn 1, started") in first
    assert ("turn:3:completion", "turn 3, after directory.create_record") in first
    assert ("activity:directory.create_record:1:dispatch", "directory.create_record") in first
    assert first[-1] == ("end:acknowledged", "ended COMPLETED")


def test_held_at_every_point_and_let_go(plain: Plain, shop: Shop, gate: Gate, start: Start) -> None:
    ids = held_everywhere(plain, gate, start)
    alone, *others = ids
    assert gate.release(instance=alone) == 1
    all_done(shop, [alone])
    assert gate.state()["held"] == len(others)
    assert gate.release() > 0
    assert gate.state()["held"] == 0
    all_done(shop, others)
    assert {id: seen["fired"] for id, seen in gate.instances().items() if id in ids} == {
        id: [point] for id, point in ids.items()
    }


def test_dropped_at_every_point_with_the_worker(
    bench: Bench, plain: Plain, shop: Shop, gate: Gate, start: Start
) -> None:
    ids = held_everywhere(plain, gate, start)
    pid = bench.stack.kill("app")
    gate.release(dispatch="drop", completion="drop", request="drop")
    bench.stack.wait_restarted("app", pid)
    all_done(shop, ids)


def test_every_activity_twice(plain: Plain, shop: Shop, gate: Gate, start: Start) -> None:
    points = [point for point, _ in plain.points[0] if ACTIVITY.fullmatch(point)]
    ids = [some_id("twice") for _ in range(5)]
    rules = [
        {"instance": id, "point": point, "action": "duplicate"} for id in ids for point in points
    ]
    gate.ask("POST", "/rules", json=rules)
    start(ids)
    all_done(shop, ids)
    answers = [point.replace("dispatch", "completion") for point in points]
    # The second of the last step may still be under way.
    until(
        lambda: all(len(gate.actions(id, each)) == 2 for id in ids for each in answers),
        5,
        "two answers of each activity",
    )
    for id in ids:
        # What was answered before the second one began is not sent again.
        assert set(shop.attempts(id).values()) <= {1, 2}
        assert len(shop.effects(id)) == len(set(shop.effects(id)))
        assert gate.wait(id, ended="COMPLETED")["fired"] == points


def test_a_turn_twice(shop: Shop, gate: Gate, start: Start) -> None:
    id = some_id("turn-twice")
    gate.rule(id, "turn:6:dispatch", "duplicate")
    # The sidecar takes an answer for whatever turn waits just then: the next one must not.
    gate.rule(id, "activity:record.end:1:dispatch", "hold")
    start([id])
    until(lambda: gate.actions(id, "turn:6:completion") == ["passed"] * 2, 15, "both answers")
    gate.release()
    all_done(shop, [id])
    assert set(shop.attempts(id).values()) == {1}


def test_a_worker_that_is_given_up_comes_back(shop: Shop, gate: Gate, start: Start) -> None:
    id = some_id("severed")
    gate.rule(id, NOTIFY, "hold")
    start([id])
    gate.wait(id, held=NOTIFY)
    gate.ask("POST", "/sever")
    until(lambda: gate.actions(id, NOTIFY)[-1] == "lost", 5, "lost")
    gate.release()
    all_done(shop, [id])


def test_a_cut_link_lets_nothing_through(shop: Shop, gate: Gate, start: Start) -> None:
    id, late = some_id("cut"), some_id("late")
    gate.rule(id, "turn:3:completion", "hold")
    start([id])
    gate.wait(id, held="turn:3:completion")
    gate.ask("POST", "/cut")
    assert gate.state() == {"cut": True, "worker_connected": False, "held": 1}
    assert gate.actions(id, "turn:3:completion") == ["held", "lost"]
    shop.start(task(late), "/tasks")
    assert gate.instances().get(late, {"turns": 0})["turns"] == 0
    gate.release()
    gate.ask("POST", "/restore")
    all_done(shop, [id, late])


def test_messages_that_reset_the_link(shop: Shop, gate: Gate, start: Start) -> None:
    points = ("start:request", "start:response", "turn:2:dispatch", "turn:2:completion")
    ids = {some_id("reset"): point for point in points}
    for id, point in ids.items():
        gate.rule(id, point, "reset")
    start(ids)
    all_done(shop, ids)
    assert {id: gate.actions(id, point)[0] for id, point in ids.items()} == dict.fromkeys(
        ids, "lost"
    )


def test_a_killed_sidecar_is_found_again(
    bench: Bench, shop: Shop, gate: Gate, start: Start
) -> None:
    ids = [some_id("sidecar") for _ in range(10)]
    for id in ids:
        gate.rule(id, NOTIFY, "hold")
    start(ids)
    for id in ids:
        gate.wait(id, held=NOTIFY)
    pid = bench.stack.kill("daprd")
    until(lambda: not gate.state()["worker_connected"], 5, "the worker is told")
    gate.release(dispatch="drop")
    bench.stack.wait_restarted("daprd", pid)
    all_done(shop, ids)


def test_a_start_that_is_dropped_or_late(shop: Shop, gate: Gate, start: Start) -> None:
    dropped, late = some_id("dropped"), some_id("late")
    gate.rule(dropped, "start:request", "drop")
    gate.rule(late, "start:request", "delay", seconds=0.5)
    start([dropped, late])
    all_done(shop, [dropped, late])
    assert gate.actions(dropped, "start:request") == ["dropped", "passed"]
    assert gate.actions(late, "start:request") == ["delayed"]
    at = {row["point"]: row["at"] for row in gate.crossed(late)}
    assert at["turn:1:dispatch"] - at["start:request"] > 0.5


def test_a_caller_that_leaves_takes_its_message_along(bench: Bench, gate: Gate) -> None:
    id = some_id("left")
    gate.rule(id, "start:request", "hold")
    message = pb.CreateInstanceRequest(instanceId=id, name="task_processing")
    status, _ = bench.through.ask("StartInstance", message, timeout=0.3)
    assert status == "DEADLINE_EXCEEDED"
    until(lambda: gate.actions(id, "start:request") == ["held", "lost"], 2, "lost")
    assert gate.release(instance=id) == 0
    asked = pb.GetInstanceRequest(instanceId=id)
    status, answer = bench.through.ask("GetInstance", asked)
    assert (status, pb.GetInstanceResponse.FromString(answer).exists) == ("OK", False)


def test_a_large_message_is_answered_by_the_sidecar(bench: Bench, gate: Gate) -> None:
    id = some_id("large")
    message = pb.RaiseEventRequest(instanceId=id, name="large")
    message.input.value = "x" * 5_000_000
    assert bench.through.ask("RaiseEvent", message) == bench.past.ask("RaiseEvent", message)
    assert gate.points(id) == [
        ("event:1:request", "event large"),
        ("event:1:response", "event large"),
    ]


def test_only_what_has_changed_is_told(shop: Shop, gate: Gate, start: Start) -> None:
    first, second = some_id("before"), some_id("after")
    start([first])
    gate.wait(first, ended="COMPLETED")
    version = gate.ask("GET", "/instances")["version"]
    nothing = gate.ask("GET", "/instances", params={"since": version, "wait": 0.2})
    assert nothing == {"version": version, "instances": {}}
    with ThreadPoolExecutor(1) as pool:
        waits = {"since": version, "wait": 10}
        told = pool.submit(gate.ask, "GET", "/instances", params=waits)
        start([second])
        assert set(told.result()["instances"]) == {second}


def test_a_bad_rule_is_refused_with_all_that_come_with_it(gate: Gate) -> None:
    good = {"instance": "a", "point": "turn:1:dispatch", "action": "hold"}
    response = gate.http.post(f"{gate.url}/rules", json=[good, {**good, "action": "burn"}])
    assert response.status_code == 422
    assert "action" in response.text
    assert gate.ask("GET", "/rules") == []


def test_an_order_is_idle_while_it_waits(shop: Shop, gate: Gate) -> None:
    id = some_id("idle")
    shop.script(NEVER, operation="carrier.create_shipment", instance=id)
    gate.rule(id, "activity:payment.charge:1:completion", "delay", seconds=0.5)
    shop.start(order(id))
    seen = gate.wait(id, idle=True)
    assert seen["completed"]["carrier.create_shipment"] == 1
    assert (seen["ended"], seen["fired"]) == (None, ["activity:payment.charge:1:completion"])
