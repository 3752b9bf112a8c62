"""A step that is counted together with others leaves the same behind as one that goes alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from activities.effect import Env, Fault, perform
from activities.providers import Providers
from store import Store, records
from store.dispatches import Dispatches
from store.schema import metadata
from workflows.messages import Answer, Call, DirectionChange

NOW = datetime(2026, 11, 24, 20, 0, 0, 250, UTC)


class Alone(Dispatches):
    """Takes nothing: everything begins and finishes alone."""

    async def begin(self, _: Any) -> None:
        return None

    async def finish(self, _: Any) -> bool:
        return False


class Counting(Dispatches):
    """Counts what it takes."""

    taken = 0

    async def begin(self, opening: Any) -> Any:
        begun = await super().begin(opening)
        self.taken += begun is not None
        return begun


CALLS: dict[str, dict[str, Any]] = {
    "a step": {"key": "task/create"},
    "an undo": {"key": "task/delete", "undoes": "task/create"},
    "a step behind which there is no way back": {"key": "task/notify", "must": True},
    "a step that settles later": {"key": "task/train/1", "look_again": 20.0},
}
REPLIES: dict[str, tuple[int, Any]] = {
    "applied": (200, {"result": "applied"}),
    "refused": (200, {"result": "refused", "reason": "no"}),
    "pending": (202, {"result": "pending"}),
    "wrong": (422, {"detail": "no"}),
    "a fault": (503, {}),
}


async def left(store: Store) -> dict[str, list[dict[str, Any]]]:
    async with store.reading() as tx:
        return {
            table.name: [dict(row) for row in (await tx.execute(select(table))).mappings()]
            for table in metadata.sorted_tables
        }


async def went(
    store: Store, dispatches: Dispatches, call: Call, reply: tuple[int, Any], *, down: bool
) -> tuple[Answer | None, dict[str, list[dict[str, Any]]]]:
    """What came of it, and what it left behind; nothing is kept of it."""
    status, content = reply
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=content))
    async with httpx.AsyncClient(transport=transport, base_url="http://provider.test") as client:
        env = Env(store=store, providers=Providers(lambda _: client), life="a life")
        env.dispatches = dispatches
        async with store.transaction() as tx:
            for table in reversed(metadata.sorted_tables):
                await tx.execute(table.delete())
            await records.accept(
                tx, id="task", kind="task", idempotency_key=None, request_hash="h", input={}
            )
            if down:
                turned = DirectionChange(instance="task", direction="down", reason="cancelled")
                await records.turn(tx, turned)
        try:
            answer = await perform(env, "record.create", call, {}, step=True)
        except Fault:
            answer = None
    return answer, await left(store)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("what", CALLS)
async def test_both_ways_leave_the_same_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch, what: str, reply: str, down: bool
) -> None:
    monkeypatch.setattr(records, "now", lambda: NOW)
    call = Call(instance="task", **CALLS[what])
    together = Counting(store)
    one = await went(store, together, call, REPLIES[reply], down=down)
    other = await went(store, Alone(store), call, REPLIES[reply], down=down)
    for _, tables in (one, other):
        for row in tables["attempts"]:
            del row["id"]
    assert one == other
    ordinary = not down or call.undoes is not None or call.must
    assert together.taken == ordinary
