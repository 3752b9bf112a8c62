"""A new version is for what begins with it: whoever took an older one keeps it, run after run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from store import records
from tests.support.sagas import task
from tests.support.world import World, world
from workflows import WORKFLOWS, Workflow
from workflows.instance import End, Yields
from workflows.saga import Saga
from workflows.task_processing import CREATE, SHOW, V1, Task

ID = "task-1"
TASK = {**task(ID), "effort": 1}
KIND = "task_processing"


def backwards(saga: Saga, task: Task) -> Yields[End]:
    """Shows it before anything else is done."""

    def forward() -> Yields[None]:
        yield from saga.step(SHOW, {"state": "assigned"})
        yield from saga.step(CREATE, {"title": task.title, "assignee": task.assignee})

    outcome = yield from saga.run(forward)
    return outcome.as_end("DONE", "COMPENSATED")


OTHERS = tuple(workflow for workflow in WORKFLOWS if workflow.kind != KIND)
V2 = replace(V1, version="v2", body=backwards)
BOTH = (*OTHERS, replace(V1, latest=False), V2)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def done(office: World) -> list[str]:
    return [key.partition("/")[2] for key in office.effects]


async def taken(office: World, version: str) -> list[str]:
    """Who took a version, as `GET /workflows?version=` asks."""
    async with office.store.reading() as tx:
        rows = await records.page(
            tx, kind=None, status=None, version=version, after=None, limit=100
        )
    return [row["id"] for row in rows]


async def begun(office: World, id: str, workflows: tuple[Workflow, ...]) -> Any:
    await office.accept(KIND, id, {**TASK, "id": id})
    return office.run(KIND, id, {**TASK, "id": id}, workflows=workflows)


async def test_a_second_run_takes_the_version_of_the_first(office: World) -> None:
    office.replies[f"{ID}/reserve_capacity"] = ["parked"]
    first = await (await begun(office, ID, WORKFLOWS)).advance()
    assert (await office.record(ID))["version"] == "v1"
    office.replies.clear()
    again = await office.run(KIND, ID, {}, workflows=BOTH, clock=first.clock).advance()
    assert again.output == "DONE"
    assert done(office)[-3:] == ["reserve_capacity", "notify", "update_dashboard"]
    assert (await office.record(ID))["version"] == "v1"


async def test_what_begins_with_it_takes_the_new_version(office: World) -> None:
    run = await (await begun(office, ID, BOTH)).advance()
    assert run.output == "DONE"
    assert done(office) == ["update_dashboard", "create_record"]
    assert await taken(office, "v2") == [ID]


async def test_one_sees_when_a_version_has_drained(office: World) -> None:
    office.replies["old/reserve_capacity"] = ["parked"]
    old = await (await begun(office, "old", WORKFLOWS)).advance()
    await (await begun(office, "new", BOTH)).advance()
    assert (await taken(office, "v1"), await taken(office, "v2")) == (["old"], ["new"])
    office.replies.clear()
    await office.run(KIND, "old", {}, workflows=BOTH, clock=old.clock).advance()
    assert {id: (await office.record(id))["status"] for id in await taken(office, "v1")} == {
        "old": "ENDED"
    }


async def test_a_version_that_is_gone_fails_and_does_not_take_another_path(office: World) -> None:
    office.replies[f"{ID}/reserve_capacity"] = ["parked"]
    first = await (await begun(office, ID, WORKFLOWS)).advance()
    effects = list(office.effects)
    again = await office.run(KIND, ID, {}, workflows=(*OTHERS, V2), clock=first.clock).advance()
    assert (again.status, again.failure) == ("FAILED", "task_processing v1 is not registered")
    assert office.effects == effects
