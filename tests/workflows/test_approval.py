from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from activities.decisions import Decision, decide
from tests.support.engine import Run
from tests.support.world import World, world

ID = "request-1"
APPROVAL: dict[str, Any] = {
    "id": ID,
    "title": "a new press",
    "requester": "r-1",
    "action": "buy",
    "amount": 5_000_000,
    "automatic": False,
    "approvers": ["a-1", "a-2"],
    "director": "d-1",
    "escalate_after": 48 * 3600,
    "expire_after": 72 * 3600,
    "retry": {"attempts": 3, "first": 0.1, "cap": 1},
}
ASKED = ["notify_approvers/1", "notify_approvers/2"]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def start(office: World, **changes: Any) -> Run:
    await office.accept("approval", ID, {**APPROVAL, **changes})
    return office.run("approval", ID, {**APPROVAL, **changes})


async def says(
    office: World, run: Run, who: str, *, approved: bool = True, roles: str = "approver"
) -> str:
    decision = Decision(
        instance=ID,
        event_id=f"e-{who}-{approved}",
        approved=approved,
        approver=who,
        roles=frozenset({roles}),
    )
    async with office.store.transaction() as tx:
        verdict = await decide(tx, decision)
    run.raise_event("approval_received")
    return verdict


def effects(office: World) -> list[str]:
    return [key.removeprefix(f"{ID}/") for key in office.effects]


async def test_below_the_limit_nobody_is_asked(office: World) -> None:
    run = await (await start(office, automatic=True)).advance()
    assert run.output == "APPROVED"
    assert effects(office) == ["execute", "notify"]
    assert await says(office, run, "a-1", approved=False) == "late"


@pytest.mark.parametrize(("approved", "word"), [(True, "APPROVED"), (False, "REJECTED")])
async def test_decided(office: World, approved: bool, word: str) -> None:
    run = await (await start(office)).advance(timers=False)
    assert await says(office, run, "a-1", approved=approved) == "accepted"
    assert await says(office, run, "a-1", approved=approved) == "repeated"
    assert await says(office, run, "a-2", approved=not approved) == "decided"
    await run.advance()
    assert run.output == word
    assert effects(office) == [*ASKED, *(["execute"] if approved else []), "notify"]


async def test_a_decision_made_before_the_wait_counts(office: World) -> None:
    run = await start(office)
    assert await says(office, run, "a-1") == "accepted"
    await run.advance(timers=False)
    assert run.output == "APPROVED"


async def test_a_decision_beats_the_deadline_that_passes_with_it(office: World) -> None:
    run = await (await start(office)).advance(timers=False)
    assert await says(office, run, "a-1") == "accepted"
    run._pending.clear()  # its wake-up signal is lost, and then the deadline passes
    await run.advance()
    assert run.output == "APPROVED"


async def test_after_the_escalation_the_director_alone_decides(office: World) -> None:
    run = await (await start(office)).advance(timers=False)
    assert run._fire_next_timer()
    await run.advance(timers=False)
    assert effects(office) == [*ASKED, "notify_director/1"]
    assert await says(office, run, "a-1") == "director"
    assert await says(office, run, "d-1", roles="director") == "accepted"
    await run.advance()
    assert run.output == "APPROVED"


async def test_nobody_decides(office: World) -> None:
    run = await (await start(office)).advance()
    assert run.output == "TIMED_OUT"
    assert effects(office) == [*ASKED, "notify_director/1", "notify"]
    assert await says(office, run, "d-1", roles="director") == "late"


@pytest.mark.parametrize(
    ("who", "roles", "verdict"), [("r-1", "approver", "own"), ("x-1", "requester", "role")]
)
async def test_not_by_just_anybody(office: World, who: str, roles: str, verdict: str) -> None:
    run = await (await start(office)).advance(timers=False)
    assert await says(office, run, who, roles=roles) == verdict
    await run.advance(timers=False)
    assert run.status == "RUNNING"


async def test_cancelled(office: World) -> None:
    run = await (await start(office)).advance(timers=False)
    await office.keep(ID, "cancel", "cancel-1")
    run.raise_event("cancel")
    await run.advance()
    assert run.output == "CANCELLED"
    assert await says(office, run, "a-1") == "late"
