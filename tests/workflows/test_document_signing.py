from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from store import inbox
from tests.support.engine import Run
from tests.support.world import World, world

ID = "document-1"
SIGNERS = [f"signer-{number}" for number in range(1, 31)]
DOCUMENT: dict[str, Any] = {
    "id": ID,
    "title": "lease",
    "requester": "c-17",
    "signers": SIGNERS,
    "retry": {"attempts": 3, "first": 0.1, "cap": 1},
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def start(desk: World, **changes: Any) -> Run:
    await desk.accept("document_signing", ID, {**DOCUMENT, **changes})
    return desk.run("document_signing", ID, {**DOCUMENT, **changes})


async def sign(
    desk: World, run: Run, signer: str, *, copy: int = 1, declined: bool = False
) -> None:
    async with desk.store.transaction() as tx:
        await inbox.keep(
            tx,
            instance=ID,
            event_id=f"evt-{signer}-{copy}",
            name="signing",
            type="signing.declined" if declined else "signing.signed",
            data={"signer": signer},
        )
    run.raise_event("signing")


def keys(*names: str) -> list[str]:
    return [f"{ID}/{name}" for name in names]


async def test_thirty_signers_shuffled_and_tripled(desk: World) -> None:
    run = await (await start(desk)).advance(timers=False)
    answers = [(signer, copy) for signer in SIGNERS for copy in (1, 2, 3)]
    random.Random(7).shuffle(answers)
    for signer, copy in answers:
        await sign(desk, run, signer, copy=copy)
        await run.advance(timers=False)
    assert run.output == "SIGNED"
    assert desk.effects == keys("send", "notify")


async def test_all_answers_before_the_first_turn(desk: World) -> None:
    run = await start(desk, signers=SIGNERS[:3])
    for signer in SIGNERS[:3]:
        await sign(desk, run, signer)
    await run.advance(timers=False)
    assert run.output == "SIGNED"


async def test_one_who_declines_voids_it_for_all(desk: World) -> None:
    run = await (await start(desk)).advance(timers=False)
    await sign(desk, run, SIGNERS[0])
    await sign(desk, run, SIGNERS[1], declined=True)
    await run.advance()
    assert run.output == "DECLINED"
    assert desk.effects == keys("send", "void", "notify")


async def test_reminds_each_week_whoever_is_missing_and_expires_after_a_month(desk: World) -> None:
    run = await (await start(desk, signers=SIGNERS[:2])).advance(timers=False)
    await sign(desk, run, SIGNERS[0])
    await run.advance()
    assert run.output == "EXPIRED"
    reminders = [f"remind/{week}/2" for week in (1, 2, 3, 4)]
    assert desk.effects == keys("send", *reminders, "void", "notify")


async def test_a_second_run_reminds_under_the_same_keys_and_keeps_the_deadline(
    desk: World,
) -> None:
    run = await (await start(desk, signers=SIGNERS[:1])).advance(timers=False)
    due = (await desk.record(ID))["due_at"]
    again = await desk.run("document_signing", ID, {**DOCUMENT, "signers": SIGNERS[:1]}).advance(
        timers=False
    )
    assert (await desk.record(ID))["due_at"] == due
    await again.advance()
    assert again.output == "EXPIRED"
    assert run.status == "RUNNING"


async def test_cancel_voids(desk: World) -> None:
    run = await (await start(desk)).advance(timers=False)
    await desk.keep(ID, "cancel", "cancel-1")
    run.raise_event("cancel")
    await run.advance()
    assert run.output == "CANCELLED"
    assert desk.effects == keys("send", "void", "notify")
