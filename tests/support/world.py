"""A world for workflow units: the real store on a file of its own, and providers that obey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from activities import ACTIVITIES
from activities.effect import Env
from activities.providers import Providers
from app.store import Store, inbox, records
from app.store.migrate import migrate
from tests.support.engine import Run

Reply = str | Exception | Callable[["World"], Any]


@dataclass
class World:
    """`replies` says, by key, what the provider answers next; without a reply it is applied."""

    env: Env
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    polls: dict[str, list[Any]] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.env.store

    async def activity(self, name: str, message: dict[str, Any]) -> Any:
        if name.startswith("record."):
            answer = await ACTIVITIES[name](self.env, message)
            return None if answer is None else answer.model_dump(mode="json")
        key = message["key"]
        if ".poll_" in name:
            said = self.polls[key].pop(0) if len(self.polls[key]) > 1 else self.polls[key][0]
            if isinstance(said, Exception):
                raise said
            return said
        self.effects.append(key)
        queue = self.replies.get(key, [])
        reply = (queue.pop(0) if len(queue) > 1 else queue[0]) if queue else "applied"
        if isinstance(reply, Exception):
            raise reply
        if callable(reply):
            reply = await reply(self)
        return {"result": reply, "reason": None if reply == "applied" else f"said {reply}"}

    async def accept(self, kind: str, id: str, input: dict[str, Any]) -> None:
        async with self.store.transaction() as tx:
            await records.accept(
                tx, id=id, kind=kind, idempotency_key=None, request_hash="", input=input
            )

    async def keep(self, id: str, type: str, event_id: str | None = None) -> None:
        async with self.store.transaction() as tx:
            await inbox.keep(
                tx,
                instance=id,
                event_id=event_id or f"evt-{type}",
                name=type.split(".")[0],
                type=type,
                data={},
            )

    async def record(self, id: str) -> Any:
        async with self.store.reading() as tx:
            return await records.get(tx, id)

    def run(self, kind: str, id: str, input: dict[str, Any]) -> Run:
        return Run(kind=kind, id=id, input=input, activity=self.activity)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    store = Store(f"sqlite+aiosqlite:///{folder / 'app.db'}")
    await migrate(store)
    async with httpx.AsyncClient() as client:
        try:
            yield World(Env(store=store, providers=Providers(lambda _: client)))
        finally:
            await store.close()
