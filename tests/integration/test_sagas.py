"""Tasks and deployments on the real runtime: every step refused, every step failing, every undo."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.stack import Stack
from tests.support.shop import Shop, some_id, until

QUICK = {"attempts": 2, "first": 0.1, "cap": 0.2}
TASK_STEPS = {
    "create_record": "directory.create_record",
    "reserve_capacity": "directory.reserve_capacity",
    "notify": "notifier.send",
    "update_dashboard": "directory.update_dashboard",
}
TASK_UNDOS = {
    "mark_cancelled": "directory.update_dashboard",
    "send_cancellation": "notifier.send",
    "release_capacity": "directory.release_capacity",
    "delete_record": "directory.delete_record",
}


def task(id: str) -> dict[str, Any]:
    return {"id": id, "title": "count the stock", "assignee": "p-3", "retry": QUICK}


def deployment(id: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "model": f"model-of-{id}",
        "version": "v2",
        "dataset": "d-1",
        "poll_interval": 0.2,
        "heartbeat_timeout": 2,
        "retry": {"attempts": 5, "first": 0.05, "cap": 0.1},
        **changes,
    }


def effect_keys(shop: Shop, id: str) -> list[str]:
    keys = [effect["key"].removeprefix(f"{id}/") for effect in shop.ledger(id)["effects"]]
    return [key for key in keys if not key.endswith("/alert")]


def live(shop: Shop, model: str) -> str | None:
    registers = shop.http.get(f"{shop.downstream_url}/registers/ml.authorize").json()
    found: str | None = registers.get(model)
    return found


class TestTask:
    def test_done(self, shop: Shop) -> None:
        id = shop.start(task(some_id("task")), "/tasks")
        assert shop.ended(id) == "DONE"
        assert effect_keys(shop, id) == list(TASK_STEPS)

    @pytest.mark.parametrize("then", [{"refuse": "no"}, {"status": 500}, {"drop": True}])
    @pytest.mark.parametrize("step", TASK_STEPS)
    def test_each_step_refused_or_failing(
        self, shop: Shop, step: str, then: dict[str, Any]
    ) -> None:
        id = some_id("task")
        rule = shop.script(then, key=f"{id}/{step}")
        shop.start(task(id), "/tasks")
        assert shop.ended(id) == "COMPENSATED"
        assert shop.fired(rule) >= 1
        before = list(TASK_STEPS)[: list(TASK_STEPS).index(step)]
        done = [*before, step] if "drop" in then else before
        assert effect_keys(shop, id) == [*done, *list(TASK_UNDOS)[4 - len(done) :]]

    @pytest.mark.parametrize("undo", TASK_UNDOS)
    def test_each_undo_failing_waits_for_a_person(self, shop: Shop, undo: str) -> None:
        id = some_id("task")
        shop.script({"drop": True}, key=f"{id}/update_dashboard")
        rule = shop.script({"status": 500}, key=f"{id}/{undo}")
        shop.start(task(id), "/tasks")
        assert shop.wait(id, status="PARKED")["waiting_for"] == f"{id}/{undo}/1"
        others = [name for name in TASK_UNDOS if name != undo]
        assert effect_keys(shop, id) == [*TASK_STEPS, *others]

        assert shop.post(f"/workflows/{id}/retry", None).status_code == 200
        shop.wait(id, status="PARKED", waiting_for=f"{id}/{undo}/2")
        shop.unscript(rule)
        note = {"action": "settled", "note": "done by hand"}
        assert shop.post(f"/interventions/{id}/{undo}/2", note).status_code == 200
        assert shop.ended(id) == "COMPENSATED"
        assert undo not in effect_keys(shop, id)


class TestDeployment:
    def test_ready(self, shop: Shop) -> None:
        id = shop.start(deployment(some_id("model")), "/deployments")
        assert shop.ended(id) == "READY"
        assert shop.look(id)["phase"] == "READY"
        assert live(shop, f"model-of-{id}") == "v2"

    def test_a_kill_while_it_trains(self, shop: Shop, stack: Stack) -> None:
        id = some_id("model")
        long = {"pending": {"settle": "applied", "after": 6, "heartbeat": True}}
        shop.script(long, operation="ml.train", instance=id)
        shop.start(deployment(id, heartbeat_timeout=30), "/deployments")
        shop.wait(id, phase="TRAINING_IN_PROGRESS")
        stack.wait_restarted("app", stack.kill("app"))
        assert shop.ended(id, 60) == "READY"
        assert effect_keys(shop, id).count("train/1") == 1

    def test_a_silent_training_waits_for_a_person_who_orders_another(self, shop: Shop) -> None:
        id = some_id("model")
        silent = {"pending": {"settle": "applied", "after": 600, "silent_after": 0}}
        shop.script(silent, operation="ml.train", instance=id, times=1)
        shop.start(deployment(id), "/deployments")
        shop.wait(id, status="PARKED", phase="TRAINING_FAILED")
        assert shop.post(f"/workflows/{id}/retry", None).status_code == 200
        assert shop.ended(id) == "READY"
        assert "train/2" in effect_keys(shop, id)

    def test_five_failures_of_the_push_wait_for_a_retry(self, shop: Shop) -> None:
        id = some_id("model")
        rule = shop.script({"status": 500}, operation="ml.push_artifact", instance=id)
        shop.start(deployment(id), "/deployments")
        shop.wait(id, status="PARKED", phase="PUSH_FAILED")
        assert shop.fired(rule) == 5
        shop.unscript(rule)
        before = shop.attempts(id)
        assert shop.post(f"/workflows/{id}/retry", None).status_code == 200
        assert shop.ended(id) == "READY"
        after = shop.attempts(id)
        assert after["ml.push_artifact"] == 6
        repeated = [name for name in before if after[name] != before[name]]
        assert repeated == ["ml.push_artifact"]

    def test_a_missing_configuration_is_completed_by_itself(self, shop: Shop) -> None:
        id = some_id("model")
        rule = shop.script({"status": 500}, operation="ml.create_config", instance=id)
        shop.start(deployment(id), "/deployments")
        shop.wait(id, phase="CONFIG_PENDING")
        until(lambda: shop.fired(rule) > 5, 20, "the reconciliation loop has tried again")
        shop.unscript(rule)
        assert shop.ended(id) == "READY"
        assert all(one["instance"] != id for one in open_interventions(shop))

    def test_a_bad_canary_brings_the_version_before_back(self, shop: Shop) -> None:
        first = shop.start(deployment(some_id("model"), version="v1"), "/deployments")
        assert shop.ended(first) == "READY"
        model = f"model-of-{first}"
        second = some_id("model")
        shop.start(deployment(second, model=model, version="v-bad"), "/deployments")
        assert shop.ended(second) == "ROLLED_BACK"
        assert live(shop, model) == "v1"
        undone = ["restore_version", "delete_config", "delete_artifact"]
        assert effect_keys(shop, second)[-3:] == undone

    def test_a_rollback_on_request(self, shop: Shop) -> None:
        first = shop.start(deployment(some_id("model"), version="v1"), "/deployments")
        assert shop.ended(first) == "READY"
        model = f"model-of-{first}"
        second = shop.start(deployment(some_id("model"), model=model), "/deployments")
        assert shop.ended(second) == "READY"
        assert shop.post(f"/deployments/{second}/rollback", None).status_code == 202
        assert shop.wait(second, 30, outcome="ROLLED_BACK")["phase"] == "ROLLED_BACK"
        assert live(shop, model) == "v1"
        assert shop.post(f"/deployments/{second}/rollback", None).status_code == 202
        assert effect_keys(shop, second).count("restore_version") == 1

    def test_a_rollback_leaves_a_newer_version_alone(self, shop: Shop) -> None:
        old = shop.start(deployment(some_id("model"), version="v1"), "/deployments")
        assert shop.ended(old) == "READY"
        model = f"model-of-{old}"
        new = shop.start(deployment(some_id("model"), model=model), "/deployments")
        assert shop.ended(new) == "READY"
        assert shop.post(f"/deployments/{old}/rollback", None).status_code == 202
        shop.wait(old, 30, outcome="ROLLED_BACK")
        assert live(shop, model) == "v2"


def open_interventions(shop: Shop) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.http.get(
        f"{shop.url}/interventions", params={"limit": 200}
    ).json()["items"]
    return found
