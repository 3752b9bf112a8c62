"""Slow is not stuck: a training that outlasts every patience is waited for, and run once.

By default in seconds, with a patience to match. With `STEADFAST_TRAINING=720` the training lasts
12 minutes, and the application keeps every one of its defaults.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from launcher.settings import Settings
from launcher.stack import Stack
from tests.support.sagas import deployment
from tests.support.shop import Shop, some_id
from tests.support.tokens import token

TRAINING = float(os.environ.get("STEADFAST_TRAINING", "0"))  # seconds; 0: a few, and impatient
IMPATIENT = {"STEADFAST_STALL_AFTER": "2", "STEADFAST_RECONCILE_INTERVAL": "0.5"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    settings = Settings.ephemeral(tmp_path_factory.mktemp("slow"))
    with Stack(settings, app_env={} if TRAINING else IMPATIENT) as stack:
        stack.wait_ready()
        yield Shop(stack.url, stack.downstream_url).authorize(
            token(stack, "op-1", "operator", "requester")
        )


def test_a_training_outlasts_every_patience_and_is_run_once(shop: Shop) -> None:
    id, lasts = some_id("slow"), TRAINING or 20
    body = deployment(id, poll_interval=1, heartbeat_timeout=10)
    if TRAINING:
        body = {name: body[name] for name in ("id", "model", "version", "dataset")}
    trains = {"pending": {"settle": "applied", "after": lasts, "heartbeat": True}}
    rule = shop.script(trains, key=f"{id}/train/1")
    shop.start(body, "/deployments")
    assert shop.ended(id, lasts + 150) == "READY"
    assert shop.fired(rule) == 1
    assert Counter(shop.effects(id))["ml.train"] == 1
    timeline = shop.look(id)["timeline"]
    assert [one for one in timeline if one["what"].startswith("intervention")] == []
    metrics = shop.http.get(f"{shop.url}/metrics").text
    reconciled = [line for line in metrics.splitlines() if "steadfast_reconciled_total{" in line]
    touched = [line for line in reconciled if "woken" in line or "run_again" in line]
    assert touched == [] or all(line.endswith(" 0.0") for line in touched), touched
