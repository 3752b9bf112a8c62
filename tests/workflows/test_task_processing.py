from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import Run
from tests.support.world import World, world

ID = "task-1"
TASK: dict[str, Any] = {
    "id": ID,
    "title": "count the stock",
    "assignee": "p-3",
    "effort": 90,
    "retry": {"attempts": 3, "first": 0.1, "cap": 1},
}
DONE = [
    f"{ID}/{name}" for name in ("create_record", "reserve_capacity", "notify", "update_dashboard")
]
UNDONE = [
    f"{ID}/{name}"
    for name in ("mark_cancelled", "send_cancellation", "release_capacity", "delete_record")
]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def start(office: World) -> Run:
    await office.accept("task_processing", ID, TASK)
    return office.run("task_processing", ID, TASK)


async def test_done(office: World) -> None:
    run = await (await start(office)).advance()
    assert run.output == "DONE"
    assert office.effects == DONE


@pytest.mark.parametrize("reply", ["refused", ConnectionError("down")])
@pytest.mark.parametrize("failing", range(4))
async def test_what_was_tried_is_undone_in_reverse(office: World, failing: int, reply: Any) -> None:
    office.replies[DONE[failing]] = [reply]
    run = await (await start(office)).advance()
    assert run.output == "COMPENSATED"
    tries = 1 if reply == "refused" else 3
    assert office.effects == [*DONE[:failing], *[DONE[failing]] * tries, *UNDONE[3 - failing :]]


async def test_a_second_run_on_the_way_down_undoes_everything(office: World) -> None:
    office.replies[DONE[3]] = ["refused"]
    office.replies[UNDONE[0]] = [ConnectionError("down")]
    await (await start(office)).advance()
    office.replies.clear()
    office.effects.clear()
    again = await office.run("task_processing", ID, TASK).advance()
    assert again.output == "COMPENSATED"
    # The others were answered in the first run, and nobody is asked for them again.
    assert office.effects == UNDONE[:1]
