from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from store import interventions
from tests.support.engine import Run
from tests.support.world import World, world

ID = "model-1"
DEPLOYMENT: dict[str, Any] = {
    "id": ID,
    "model": "scoring",
    "version": "v2",
    "dataset": "d-1",
    "poll_interval": 60,
    "heartbeat_timeout": 600,
    "retry": {"attempts": 5, "first": 0.1, "cap": 1},
}


def keys(*names: str) -> list[str]:
    return [f"{ID}/{name}" for name in names]


DONE = keys("generate_data", "train/1", "push_artifact", "create_config", "authorize")
UNDONE = keys("restore_version", "delete_config", "delete_artifact")


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def start(platform: World) -> Run:
    await platform.accept("model_deployment", ID, DEPLOYMENT)
    return platform.run("model_deployment", ID, DEPLOYMENT)


async def answer(platform: World, run: Run, id: str, action: Any) -> None:
    async with platform.store.transaction() as tx:
        assert await interventions.answer(tx, id, action=action, note="", by="a")
    platform.effects.clear()
    run.raise_event("intervention")
    await run.advance()


async def test_ready(platform: World) -> None:
    run = await (await start(platform)).advance()
    assert run.output == "READY"
    assert platform.effects == [*DONE, *keys("check_canary")]


async def test_training_takes_as_long_as_its_heart_beats(platform: World) -> None:
    platform.replies[f"{ID}/train/1"] = ["pending"]
    platform.polls[f"{ID}/train/1"] = [
        {"result": "pending", "silent_for": 20.0} for _ in range(30)
    ] + [{"result": "applied"}]
    run = await (await start(platform)).advance()
    assert run.output == "READY"
    # Begun anew once: only what was pending is asked for again, under its key.
    assert run.generations == 2
    again = keys("train/1")
    assert platform.effects == [*DONE[:2], *again, *DONE[2:], *keys("check_canary")]


async def test_a_silent_training_waits_for_a_person_who_orders_another(platform: World) -> None:
    platform.replies[f"{ID}/train/1"] = ["pending"]
    platform.polls[f"{ID}/train/1"] = [{"result": "pending", "silent_for": 601.0}]
    run = await (await start(platform)).advance()
    assert (await platform.record(ID))["waiting_for"] == f"{ID}/train/1/1"
    await answer(platform, run, f"{ID}/train/1/1", "retry")
    assert run.output == "READY"
    assert platform.effects[0] == f"{ID}/train/2"


async def test_a_platform_that_cannot_be_asked_says_nothing_of_the_training(
    platform: World,
) -> None:
    platform.replies[f"{ID}/train/1"] = ["pending"]
    platform.polls[f"{ID}/train/1"] = [ConnectionError("down")] * 12 + [{"result": "applied"}]
    run = await (await start(platform)).advance()
    assert run.output == "READY"


@pytest.mark.parametrize("step", ["generate_data", "push_artifact", "authorize", "check_canary"])
async def test_five_failures_wait_for_a_retry_that_repeats_nothing(
    platform: World, step: str
) -> None:
    platform.replies[f"{ID}/{step}"] = [ConnectionError("down")]
    run = await (await start(platform)).advance()
    assert platform.effects.count(f"{ID}/{step}") == 5
    assert (await platform.record(ID))["status"] == "PARKED"
    before = list(dict.fromkeys(platform.effects))
    platform.replies.clear()
    await answer(platform, run, f"{ID}/{step}/1", "retry")
    assert run.output == "READY"
    assert platform.effects[0] == f"{ID}/{step}"
    assert not set(platform.effects[1:]) & set(before)


async def test_a_missing_configuration_waits_for_the_reconciliation_loop(platform: World) -> None:
    platform.replies[f"{ID}/create_config"] = [ConnectionError("down")]
    run = await (await start(platform)).advance()
    record = await platform.record(ID)
    assert (record["status"], record["waiting_for"]) == ("WAITING", "reconcile")
    run.raise_event("reconcile")
    await run.advance()
    assert run.status == "RUNNING"
    platform.replies.clear()
    run.raise_event("reconcile")
    await run.advance()
    assert run.output == "READY"
    async with platform.store.reading() as tx:
        assert await interventions.of_instance(tx, ID) == []


async def test_a_bad_canary_brings_the_version_before_back(platform: World) -> None:
    platform.replies[f"{ID}/check_canary"] = ["refused"]
    run = await (await start(platform)).advance()
    assert run.output == "ROLLED_BACK"
    assert platform.effects == [*DONE, *keys("check_canary"), *UNDONE]


async def test_cancel_while_training(platform: World) -> None:
    platform.replies[f"{ID}/train/1"] = ["pending"]
    run = await (await start(platform)).advance(timers=False)
    await platform.keep(ID, "cancel", "cancel-1")
    run.raise_event("cancel")
    await run.advance()
    assert run.output == "ROLLED_BACK"
    assert platform.effects == keys("generate_data", "train/1")
