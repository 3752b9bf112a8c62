"""Cancel at every point of every saga: everything undone, or a clear `too_late`."""

from __future__ import annotations

from typing import Any

from tests.integration.test_sagas import deployment, effect_keys, task
from tests.support.shop import Shop, order, some_id, until

SAGAS: dict[str, tuple[str, dict[str, str]]] = {
    "/orders": (
        "COMPENSATED",
        {"charge": "refund", "reserve": "release", "create_shipment": "cancel_shipment"},
    ),
    "/tasks": (
        "COMPENSATED",
        {
            "create_record": "delete_record",
            "reserve_capacity": "release_capacity",
            "notify": "send_cancellation",
            "update_dashboard": "mark_cancelled",
        },
    ),
    "/deployments": (
        "ROLLED_BACK",
        {
            "generate_data": "",
            "train/1": "",
            "push_artifact": "delete_artifact",
            "create_config": "delete_config",
            "authorize": "restore_version",
        },
    ),
}


def body(path: str, id: str) -> dict[str, Any]:
    makers = {"/orders": order, "/tasks": task, "/deployments": deployment}
    return makers[path](id)


def test_cancel_while_each_step_is_under_way(shop: Shop) -> None:
    """One instance is held at each point; all are cancelled, then all let go."""
    points: dict[str, tuple[str, str]] = {}
    for path, (_, steps) in SAGAS.items():
        for step in steps:
            for stage in ("before", "after"):
                id = some_id("cancel")
                points[id] = (path, step)
                then: dict[str, Any] = {"hold": stage}
                if step == "create_shipment":
                    then["callbacks"] = {"warehouse.picked": {"never": True}}
                shop.script(then, key=f"{id}/{step}")
                shop.start(body(path, id), path)

    def all_held() -> bool:
        return len(shop.http.get(f"{shop.downstream_url}/held").json()) == len(points)

    until(all_held, 30, "every instance at its point")
    for id in points:
        assert shop.post(f"/workflows/{id}/cancel", None).status_code == 202
    assert shop.http.post(f"{shop.downstream_url}/release", json={}).is_success

    for id, (path, step) in points.items():
        outcome, steps = SAGAS[path]
        if path == "/tasks" and step == "update_dashboard":
            outcome = "DONE"  # it was the last step: the instance has nothing left to stop
        assert shop.ended(id, 60) == outcome, (path, step)
        names = list(steps)
        done = names[: names.index(step) + 1]
        undone = [steps[name] for name in reversed(done) if steps[name]]
        told = ["notify"] if path == "/orders" else []
        expected = done if outcome == "DONE" else [*done, *undone, *told]
        assert effect_keys(shop, id) == expected, (path, step)


def test_cancel_while_waiting_and_too_late(shop: Shop) -> None:
    slow = {"callbacks": {"carrier.picked_up": {"never": True}}}
    waiting, left = some_id("cancel"), some_id("cancel")
    shop.script(slow, operation="carrier.create_shipment", instance=waiting)
    shop.script({"too_late": True}, operation="carrier.cancel_shipment", instance=left)
    shop.script(slow, operation="carrier.create_shipment", instance=left)
    for id in (waiting, left):
        shop.start(order(id))
        shop.wait(id, waiting_for="carrier")
        assert shop.post(f"/workflows/{id}/cancel", None).status_code == 202
    assert shop.ended(waiting) == "COMPENSATED"
    assert shop.ended(left) == "FULFILLED"
    assert "too late" in shop.look(left)["reason"]
    assert effect_keys(shop, left) == ["charge", "reserve", "create_shipment", "notify"]
