"""A sidecar without a worker that says it is well: the application asks it to stop."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from launcher.errors import NotReadyError
from launcher.stack import Stack
from tests.support.shop import FULFILLED, Shop, order, some_id, until

WEDGE_AFTER = 5  # seconds, the application's default


def test_a_sidecar_without_its_worker_is_asked_to_stop_and_comes_back(
    shop: Shop, stack: Stack
) -> None:
    """A replica whose worker is connected elsewhere sees just what the wedge shows."""
    stack.hold("app")
    stack.kill("app", signal.SIGTERM)
    old = stack.pid("daprd")
    watched = {"DAPR_HTTP_PORT": str(stack.settings.dapr_http_port)}
    try:
        with pytest.raises(NotReadyError):
            stack.spawn_app("app-wedge", env=watched, timeout=WEDGE_AFTER + 8)
        stack.wait_restarted("daprd", old)
    finally:
        stack.unhold("app")
        stack.wait_ready()
    id = shop.start(order(some_id("healed")))
    assert shop.ended(id, 60) == "FULFILLED"
    assert shop.effects(id) == FULFILLED


def test_a_pause_of_the_application_is_no_wedge(shop: Shop, stack: Stack) -> None:
    old, app = stack.pid("daprd"), stack.pid("app")
    stack.kill("app", signal.SIGSTOP)
    paused = time.monotonic()
    until(lambda: time.monotonic() - paused > WEDGE_AFTER + 2, 10, "longer than a wedge may last")
    stack.kill("app", signal.SIGCONT)
    id = shop.start(order(some_id("paused")))
    assert shop.ended(id, 60) == "FULFILLED"
    assert (stack.pid("daprd"), stack.pid("app")) == (old, app)


def test_orders_survive_kill_after_kill_under_load(shop: Shop, stack: Stack) -> None:
    """One abrupt kill of a busy worker in four to fourteen wedges Dapr 1.18; all orders end."""
    ids = []
    for _ in range(6):
        ids += shop.start_all(order(some_id("load")) for _ in range(12))
        stack.wait_restarted("app", stack.kill("app"))
    for id in ids:
        assert shop.ended(id, 90) == "FULFILLED"
        assert shop.effects(id) == FULFILLED
    log = Path(stack.log_file("app")).read_text()
    print(f"{log.count('sidecar wedged')} wedges")
