"""Cancel at every point of every saga: everything undone, or a clear `too_late`."""

from __future__ import annotations

from tests.support.sagas import SAGAS, Table, assert_effects, effect_keys, stay
from tests.support.shop import Shop, order, some_id, until


def test_cancel_while_each_step_is_under_way(shop: Shop) -> None:
    """One instance is held at each point; all are cancelled, then all let go."""
    points: dict[str, tuple[Table, str]] = {}
    for saga in SAGAS:
        for step in saga.steps:
            for stage in ("before", "after"):
                id = some_id("cancel")
                points[id] = (saga, step)
                shop.script(stay({"hold": stage}, step), key=f"{id}/{step}")
                shop.start(saga.body(id), saga.path)

    def all_held() -> bool:
        return len(shop.http.get(f"{shop.downstream_url}/held").json()) == len(points)

    until(all_held, 30, "every instance at its point")
    for id in points:
        assert shop.post(f"/workflows/{id}/cancel", None).status_code == 202
    assert shop.http.post(f"{shop.downstream_url}/release", json={}).is_success

    for id, (saga, step) in points.items():
        # Behind the last step an instance has nothing left to stop.
        last = step == list(saga.steps)[-1] and not saga.told
        assert shop.ended(id, 60) == (saga.done if last else saga.undone), step
        done = [*saga.before(step), step]
        undone = [] if last else [*saga.undos_of(done), *saga.told]
        assert_effects(shop, id, [*done, *undone])


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
    assert effect_keys(shop, left) == ["charge", "reserve", "create_shipment", "confirm", "notify"]
