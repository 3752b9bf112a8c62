"""A world for workflow units: the real store on a file of its own, and providers that obey."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from activities import ACTIVITIES
from activities.effect import Env
from activities.operations import PROVIDERS
from activities.providers import Providers
from activities.signed_controls import SignedControl
from downstream.config import load
from downstream.paths import complaint
from store import Store, clock, inbox, records
from tests.support.databases import prepare
from tests.support.engine import Run

DECLARED = load(PROVIDERS)
KEY = "a key that signs decisions and controls"


def signed_control(
    id: str, action: str, event_id: str, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A control as somebody raises it who may."""
    unsigned = SignedControl(
        action=action, settings=settings, event_id=event_id, by="op-1", expires=2**40, signature=""
    )
    signature = unsigned.expected(KEY, id)
    signed = unsigned.model_copy(update={"signature": signature})
    return signed.model_dump(mode="json", exclude_none=True)


Reply = str | Exception | dict[str, Any] | Callable[["World"], Any]


@dataclass
class World:
    """`replies` says, by key, what the provider answers next; without a reply it is applied.

    `polls` says the same of what is asked by reference.
    """

    env: Env
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    polls: dict[str, list[Any]] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)

    @property
    def store(self) -> Store:
        return self.env.store

    async def activity(self, name: str, message: dict[str, Any]) -> Any:
        answer = await ACTIVITIES[name](self.env, message)
        return None if answer is None else answer.model_dump(mode="json")

    async def provide(self, request: httpx.Request) -> httpx.Response:
        """Every provider: answers what it was told to, by key."""
        if request.method == "GET":
            key = request.url.params["reference"]
            if key not in self.polls and key not in self.answered:
                return httpx.Response(404)
            # What is pending has settled when it is asked for, unless `polls` says otherwise.
            queue: list[Any] = self.polls.get(key, ["applied"])
        else:
            key = request.headers["Idempotency-Key"]
            assert (flaw := misused(request)) is None, flaw
            self.effects.append(key)
            queue = self.replies.get(key, ["applied"])
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(reply, Exception):
            raise httpx.ConnectError(str(reply))
        if callable(reply):
            reply = await reply(self)
        if isinstance(reply, dict) and "silent_for" in reply:
            at = records.now() - timedelta(seconds=reply["silent_for"])
            reply = {"result": "pending", "detail": {"heartbeat_at": at.isoformat()}}
        self.answered.add(key)
        if isinstance(reply, str):
            reply = {"result": reply, "reason": None if reply == "applied" else f"said {reply}"}
        return httpx.Response(200, json=reply)

    async def accept(self, kind: str, id: str, input: dict[str, Any]) -> None:
        async with self.store.transaction() as tx:
            await records.accept(
                tx, id=id, kind=kind, idempotency_key=None, request_hash="", input=input
            )

    async def keep(
        self,
        id: str,
        type: str,
        event_id: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        async with self.store.transaction() as tx:
            await inbox.keep(
                tx,
                instance=id,
                event_id=event_id or f"evt-{type}",
                name=type.split(".")[0],
                type=type,
                data=data or {},
            )

    async def record(self, id: str) -> Any:
        async with self.store.reading() as tx:
            return await records.get(tx, id)

    def run(self, kind: str, id: str, input: dict[str, Any], **more: Any) -> Run:
        """A run with whose clock the application's goes."""

        async def activity(name: str, message: dict[str, Any]) -> Any:
            ahead = run.clock.replace(tzinfo=UTC) - datetime.now(UTC)
            token = clock.skew.set(max(ahead, timedelta(0)))
            try:
                return await self.activity(name, message)
            finally:
                clock.skew.reset(token)

        run = Run(kind=kind, id=id, input=input, activity=activity, **more)
        return run


def misused(request: httpx.Request) -> str | None:
    """What is wrong with a call: the operation is not declared, or its body is not as declared."""
    name, body = request.url.path.strip("/").replace("/", "."), json.loads(request.content)
    operation = DECLARED.find(name)
    if operation is None:
        return f"{name} is not declared"
    return None if DECLARED.is_undo(name, body) else complaint(body, operation.fields)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    store = Store(f"sqlite+aiosqlite:///{folder / 'app.db'}")
    await prepare(store)
    env = Env(store=store, providers=Providers(lambda _: client), decision_key=KEY)
    made = World(env)
    transport = httpx.MockTransport(made.provide)
    async with httpx.AsyncClient(base_url="http://provider", transport=transport) as client:
        try:
            yield made
        finally:
            await store.close()
