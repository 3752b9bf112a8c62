"""The sidecar gate between our application and a real sidecar."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from launcher.net import LOOPBACK, free_ports, wait_until
from launcher.settings import Settings
from launcher.stack import Stack
from tests.support.shop import Shop, order, some_id, until
from tests.support.tokens import token

NEVER = {"callbacks": {"carrier.picked_up": {"never": True}}}
DONE = ["directory.create_record", "directory.reserve_capacity", "notifier.send"]
DONE = [*DONE, "directory.update_dashboard"]


@dataclass
class Gate:
    """The gate's control, as the suite uses it."""

    url: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=15))

    def ask(self, method: str, path: str, **given: Any) -> Any:
        response = self.http.request(method, self.url + path, **given)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def rule(self, instance: str, point: str, action: str, **more: Any) -> None:
        rule = {"instance": instance, "point": point, "action": action, **more}
        assert self.ask("POST", "/rules", json=[rule]) == {"added": 1}

    def release(self, **fates: str) -> int:
        return int(self.ask("POST", "/release", json=fates)["released"])

    def instances(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/instances")["instances"]
        return found

    def wait(self, instance: str, timeout: float = 15, **expected: Any) -> dict[str, Any]:
        """Waits until the gate sees an instance so."""

        def seen() -> dict[str, Any] | None:
            found = self.instances().get(instance, {})
            return found if expected.items() <= found.items() else None

        return until(seen, timeout, f"{instance} {expected}")

    def points(self, instance: str) -> list[tuple[str, str]]:
        rows = self.ask("GET", "/points", params={"instance": instance})
        return [(row["point"], row["label"]) for row in rows]

    def actions(self, instance: str, point: str) -> list[str]:
        rows = self.ask("GET", "/messages", params={"instance": instance})
        return [row["action"] for row in rows if row["point"] == point]

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/state")
        return found


@dataclass
class Bench:
    """A stack whose worker and client reach their sidecar through a gate."""

    stack: Stack
    gate: Gate
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    settings = Settings.ephemeral(tmp_path_factory.mktemp("gated"))
    listen, control = (f"{LOOPBACK}:{port}" for port in free_ports(2))
    gate = Gate(f"http://{control}")
    command = [sys.executable, "-m", "conformance.gates", "--listen", listen]
    command += ["--upstream", f"{LOOPBACK}:{settings.dapr_grpc_port}", "--control", control]
    process = subprocess.Popen(command)
    env = {"DAPR_GRPC_ENDPOINT": listen, "STEADFAST_RECONCILE_INTERVAL": "1"}
    try:
        wait_until(lambda: _unready(gate), 10)
        with Stack(settings, app_env=env) as stack:
            yield Bench(stack, gate, process)
    finally:
        process.terminate()
        process.wait(5)


def _unready(gate: Gate) -> str | None:
    try:
        gate.ask("GET", "/livez")
    except httpx.TransportError as error:
        return str(error)
    return None


@pytest.fixture
def gate(bench: Bench) -> Iterator[Gate]:
    bench.gate.ask("DELETE", "/instances")
    yield bench.gate
    bench.gate.ask("POST", "/mend")
    bench.gate.ask("DELETE", "/instances")


@pytest.fixture
def shop(bench: Bench) -> Iterator[Shop]:
    bench.stack.wait_ready()
    stack = bench.stack
    visitor = Shop(stack.url, stack.downstream_url).authorize(token(stack, "op-1", "operator"))
    yield visitor
    visitor.http.delete(f"{stack.downstream_url}/script")
    visitor.http.close()


def task(id: str) -> dict[str, Any]:
    return {"id": id, "title": "Look into it", "assignee": "ada", "effort": 5}


def start_task(shop: Shop, name: str) -> str:
    return shop.start(task(some_id(name)), "/tasks")


def start_aside(shop: Shop, ids: list[str]) -> None:
    """Accepted is enough: the start itself may be held."""
    shop.start_all([task(id) for id in ids], "/tasks")


def measured(shop: Shop, gate: Gate) -> list[str]:
    """The points that a task crosses, but for those of its end."""
    id = start_task(shop, "dry")
    assert shop.ended(id) == "DONE"
    gate.wait(id, ended="COMPLETED")
    return [point for point, _ in gate.points(id)]


def held_everywhere(shop: Shop, gate: Gate) -> dict[str, str]:
    """One task for each point, held there."""
    points = measured(shop, gate)
    ids = {some_id("held"): point for point in points}
    for id, point in ids.items():
        gate.rule(id, point, "hold")
    start_aside(shop, list(ids))

    def all_held() -> bool:
        seen = gate.instances()
        return all(seen.get(id, {}).get("held") == point for id, point in ids.items())

    until(all_held, 20, "every task held at its point")
    assert gate.state()["held"] == len(ids)
    return ids


def all_done(shop: Shop, ids: Iterable[str], timeout: float = 30) -> None:
    assert {id: shop.ended(id, timeout) for id in ids} == dict.fromkeys(ids, "DONE")
    assert {id: shop.effects(id) for id in ids} == dict.fromkeys(ids, DONE)


def test_without_rules_it_is_transparent(shop: Shop, gate: Gate) -> None:
    before = gate.ask("GET", "/counts")
    ids = [some_id("plain") for _ in range(20)]
    start_aside(shop, ids)
    all_done(shop, ids)
    for id in ids:
        gate.wait(id, ended="COMPLETED", idle=True, held=None, fired=[], generations=1)
    after, seen = gate.ask("GET", "/counts"), gate.instances()
    turns = sum(seen[id]["turns"] for id in ids)
    activities = sum(sum(seen[id]["completed"].values()) for id in ids)
    crossed = {
        name: after[name]["messages"] - before.get(name, {"messages": 0})["messages"]
        for name in ("StartInstance", "CompleteOrchestratorTask", "CompleteActivityTask")
    }
    assert list(crossed.values()) == [20, turns, activities]


def test_points_are_the_same_each_time(shop: Shop, gate: Gate) -> None:
    ids = [start_task(shop, "again") for _ in range(2)]
    all_done(shop, ids)
    first, second = (gate.points(id) for id in ids)
    assert sorted(first) == sorted(second)
    assert ("turn:1:dispatch", "turn 1, started") in first
    assert ("turn:3:completion", "turn 3, after directory.create_record") in first
    assert ("activity:directory.create_record:1:dispatch", "directory.create_record") in first
    assert first[-1] == ("end:acknowledged", "ended COMPLETED")


def test_held_at_every_point_and_let_go(shop: Shop, gate: Gate) -> None:
    ids = held_everywhere(shop, gate)
    assert gate.release() > 0
    assert gate.state()["held"] == 0
    all_done(shop, ids)
    assert {id: seen["fired"] for id, seen in gate.instances().items() if id in ids} == {
        id: [point] for id, point in ids.items()
    }


def test_dropped_at_every_point_with_the_worker(bench: Bench, shop: Shop, gate: Gate) -> None:
    ids = held_everywhere(shop, gate)
    pid = bench.stack.kill("app")
    gate.release(dispatch="drop", completion="drop", request="drop")
    bench.stack.wait_restarted("app", pid)
    all_done(shop, ids)


def test_every_work_item_twice(shop: Shop, gate: Gate) -> None:
    points = [point for point in measured(shop, gate) if point.endswith(":dispatch")]
    ids = [some_id("twice") for _ in range(5)]
    rules = [
        {"instance": id, "point": point, "action": "duplicate"} for id in ids for point in points
    ]
    gate.ask("POST", "/rules", json=rules)
    start_aside(shop, ids)
    all_done(shop, ids)
    for id in ids:
        assert set(shop.attempts(id).values()) == {2}
        assert gate.wait(id, ended="COMPLETED")["fired"] == points


def test_a_worker_that_is_given_up_comes_back(shop: Shop, gate: Gate) -> None:
    id = some_id("severed")
    gate.rule(id, "activity:notifier.send:1:dispatch", "hold")
    start_aside(shop, [id])
    gate.wait(id, held="activity:notifier.send:1:dispatch")
    gate.ask("POST", "/sever")
    until(lambda: gate.actions(id, "activity:notifier.send:1:dispatch")[-1] == "lost", 5, "lost")
    gate.release()
    all_done(shop, [id])


def test_a_cut_link_lets_nothing_through(shop: Shop, gate: Gate) -> None:
    id = some_id("cut")
    gate.rule(id, "turn:3:completion", "hold")
    start_aside(shop, [id])
    gate.wait(id, held="turn:3:completion")
    gate.ask("POST", "/cut")
    assert gate.state() == {"cut": True, "worker_connected": False, "held": 1}
    assert gate.actions(id, "turn:3:completion") == ["held", "lost"]
    late = start_task(shop, "late")
    assert gate.instances().get(late, {"turns": 0})["turns"] == 0
    gate.release()
    gate.ask("POST", "/mend")
    all_done(shop, [id, late])


@pytest.mark.parametrize("point", ["start:request", "turn:2:dispatch", "turn:2:completion"])
def test_a_message_that_cuts_the_link(shop: Shop, gate: Gate, point: str) -> None:
    id = some_id("blink")
    gate.rule(id, point, "cut")
    start_aside(shop, [id])
    all_done(shop, [id])
    assert gate.actions(id, point)[0] == "lost"


def test_a_killed_sidecar_is_found_again(bench: Bench, shop: Shop, gate: Gate) -> None:
    ids = [some_id("sidecar") for _ in range(10)]
    for id in ids:
        gate.rule(id, "activity:notifier.send:1:dispatch", "hold")
    start_aside(shop, ids)
    for id in ids:
        gate.wait(id, held="activity:notifier.send:1:dispatch")
    pid = bench.stack.kill("daprd")
    until(lambda: not gate.state()["worker_connected"], 5, "the worker is told")
    gate.release(dispatch="drop")
    bench.stack.wait_restarted("daprd", pid)
    all_done(shop, ids)


def test_an_order_is_idle_while_it_waits(shop: Shop, gate: Gate) -> None:
    id = some_id("idle")
    shop.script(NEVER, operation="carrier.create_shipment", instance=id)
    gate.rule(id, "activity:payment.charge:1:completion", "delay", seconds=0.5)
    shop.start(order(id))
    seen = gate.wait(id, idle=True)
    assert seen["completed"]["carrier.create_shipment"] == 1
    assert (seen["ended"], seen["fired"]) == (None, ["activity:payment.charge:1:completion"])


def test_only_what_has_changed_is_told(shop: Shop, gate: Gate) -> None:
    first = start_task(shop, "before")
    all_done(shop, [first])
    gate.wait(first, ended="COMPLETED")
    version = gate.ask("GET", "/instances")["version"]
    nothing = gate.ask("GET", "/instances", params={"since": version, "wait": 0.2})
    assert nothing == {"version": version, "instances": {}}
    with ThreadPoolExecutor(1) as pool:
        waits = {"since": version, "wait": 10}
        told = pool.submit(gate.ask, "GET", "/instances", params=waits)
        second = start_task(shop, "after")
        assert set(told.result()["instances"]) == {second}


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"instance": "a", "point": "turn:0:dispatch", "action": "hold"}, "not a point"),
        ({"instance": "a", "point": "turn:1:dispatch", "action": "burn"}, "action"),
        ({"instance": "a", "point": "turn:1:dispatch", "action": "delay"}, "needs them"),
        ({"instance": "a", "point": "start:response", "action": "duplicate"}, "twice"),
        ({"instance": "a", "point": "end:acknowledged", "action": "drop"}, "only be held"),
        ({"instance": "a", "point": "turn:1:dispatch", "action": "hold", "x": 1}, "Extra"),
    ],
)
def test_bad_rules_are_refused(gate: Gate, rule: dict[str, Any], complaint: str) -> None:
    response = gate.http.post(f"{gate.url}/rules", json=[rule])
    assert response.status_code == 422
    assert complaint in response.text
    assert gate.ask("GET", "/rules") == []
