"""Whoever is slow to answer for one instance, engine or provider, delays no other instance."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.gated import Bench, gated_stack
from tests.support.sagas import deployment
from tests.support.shop import Shop, some_id, until
from tests.support.tokens import token

AT_ONCE = 5.0  # seconds; less than a call to engine or provider may last


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with gated_stack(tmp_path_factory.mktemp("slow")) as running:
        yield running


@pytest.fixture
def shop(bench: Bench) -> Iterator[Shop]:
    visitor = Shop(bench.stack.url, bench.stack.downstream_url)
    yield visitor.authorize(token(bench.stack, "op-1", "operator"))
    bench.gate.release(dispatch="pass", completion="pass", request="pass")
    visitor.http.delete(f"{bench.stack.downstream_url}/script")
    visitor.http.close()


def test_an_engine_that_hangs_for_one_retry(shop: Shop, bench: Bench) -> None:
    slow, other = some_id("slow"), some_id("other")
    broken = shop.script({"status": 503}, operation="ml.create_config")
    bench.gate.rule(slow, "event:1:request", "hold")
    shop.start(deployment(slow), "/deployments")
    bench.gate.wait(slow, held="event:1:request")
    shop.start(deployment(other), "/deployments")
    shop.wait(other, waiting_for="reconcile")
    shop.unscript(broken)
    assert shop.ended(other, AT_ONCE) == "READY"
    assert shop.look(slow)["waiting_for"] == "reconcile"
    bench.gate.release(dispatch="pass", completion="pass", request="pass")
    assert shop.ended(slow) == "READY"


def test_a_provider_that_hangs_for_one_alert(shop: Shop) -> None:
    slow, other = some_id("slow"), some_id("other")
    shop.script({"hang": True}, operation="notifier.send", instance=slow)
    for id in (slow, other):
        shop.script({"status": 503}, operation="ml.train", instance=id)
    shop.start(deployment(slow), "/deployments")
    until(lambda: shop.attempts(slow)["notifier.send"], 10, "the first alert hangs")
    shop.start(deployment(other), "/deployments")
    shop.wait(other, status="PARKED")
    until(lambda: "notifier.send" in shop.effects(other), AT_ONCE, "the second alert")
    assert "notifier.send" not in shop.effects(slow)
