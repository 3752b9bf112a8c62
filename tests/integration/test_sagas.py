"""Tasks and deployments on the real runtime: every step refused, every step failing, every undo."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.stack import Stack
from tests.support.sagas import SAGAS, assert_effects, deployment, effect_keys, stay
from tests.support.shop import Shop, some_id, until


def live(shop: Shop, model: str) -> str | None:
    registers = shop.http.get(f"{shop.downstream_url}/registers/ml.authorize").json()
    found: str | None = registers.get(model)
    return found


def test_each_saga_done(shop: Shop) -> None:
    started = {some_id("done"): saga for saga in SAGAS}
    for id, saga in started.items():
        shop.start(saga.body(id), saga.path)
    for id, saga in started.items():
        assert shop.ended(id) == saga.done
        assert sorted(effect_keys(shop, id)) == sorted([*saga.steps, *saga.between, *saga.told])


def test_each_step_refused(shop: Shop) -> None:
    started = {some_id("refused"): (saga, step) for saga in SAGAS for step in saga.steps}
    rules = {}
    for id, (saga, step) in started.items():
        rules[id] = shop.script({"refuse": "no"}, key=f"{id}/{step}")
        shop.start(saga.body(id), saga.path)
    for id, (saga, step) in started.items():
        assert shop.ended(id) == saga.refused, step
        assert shop.fired(rules[id]) == 1
        done = saga.before(step)
        assert_effects(shop, id, [*done, *saga.undos_of(done), *saga.told])


@pytest.mark.parametrize("then", [{"status": 500}, {"drop": True}], ids=["failing", "lost"])
def test_each_step_failing_for_good(shop: Shop, then: dict[str, Any]) -> None:
    """With `lost`, the effect is there and every answer is not: it has to be undone as well."""
    started = {some_id("failing"): (saga, step) for saga in SAGAS for step in saga.steps}
    rules = {}
    for id, (saga, step) in started.items():
        script = stay(then, step) if "drop" in then else then
        rules[id] = shop.script(script, key=f"{id}/{step}")
        shop.start(saga.body(id), saga.path)
    for id, (saga, step) in started.items():
        if saga.asks:
            held = {"waiting_for": "reconcile"} if step == "create_config" else {"status": "PARKED"}
            shop.wait(id, 30, **held)
            assert shop.post(f"/workflows/{id}/cancel", None).status_code == 202
        assert shop.ended(id, 60) == saga.undone, step
        assert shop.fired(rules[id]) >= 2
        done = [*saga.before(step), *([step] if "drop" in then else [])]
        assert_effects(shop, id, [*done, *saga.undos_of(done), *saga.told])


def test_each_undo_failing_waits_for_a_person(shop: Shop) -> None:
    """Retry fails again, and then it is settled by hand; the other undos are done meanwhile."""
    started = {
        some_id("undo"): (saga, undo) for saga in SAGAS for undo in saga.steps.values() if undo
    }
    for id, (saga, undo) in started.items():
        last = list(saga.steps)[-1]
        turn = {"refuse": "no"} if saga.asks else stay({"drop": True}, last)
        shop.script(turn, key=f"{id}/{last}")
        shop.script({"status": 500}, key=f"{id}/{undo}")
        shop.start(saga.body(id), saga.path)
    for id, (_, undo) in started.items():
        shop.wait(id, 60, status="PARKED", waiting_for=f"{id}/{undo}/1")
        assert shop.post(f"/workflows/{id}/retry", None).status_code == 200
    for id, (_, undo) in started.items():
        shop.wait(id, 60, status="PARKED", waiting_for=f"{id}/{undo}/2")
        settled = {"action": "settled", "note": "done by hand"}
        assert shop.post(f"/interventions/{id}/{undo}/2", settled).status_code == 200
    for id, (saga, undo) in started.items():
        assert shop.ended(id, 60) == (saga.refused if saga.asks else saga.undone), undo
        steps = saga.before("check_canary") if saga.asks else list(saga.steps)
        undos = [name for name in saga.undos_of(steps) if name != undo]
        assert_effects(shop, id, [*steps, *undos, *saga.told])


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
