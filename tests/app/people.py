"""Providers that answer as they are told, a clock put forward, and a courier's rounds."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from activities.effect import Env
from activities.providers import Providers
from app.courier import Courier
from store import Store, clock, inbox, interventions, records
from workflows.messages import Ending, Incident

ID = "order-1"


@dataclass
class Provider:
    """Answers `says(operation, key)`: a status and a body, or an exception; else `applied`."""

    says: Callable[[str, str], Any] = lambda operation, key: None
    asked: Counter[str] = field(default_factory=Counter)
    letters: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        operation = request.url.path.strip("/").replace("/", ".")
        if request.method == "GET":
            return httpx.Response(404)
        key = request.headers["Idempotency-Key"]
        self.asked[key] += 1
        said = self.says(operation, key)
        if isinstance(said, Exception):
            raise said
        if said is not None:
            status, body = await said if asyncio.iscoroutine(said) else said
            return httpx.Response(status, json=body)
        if operation == "notifier.send":
            self.letters.append({"key": key, **json.loads(request.content)})
        return httpx.Response(200, json={"result": "applied"})

    def sent(self) -> list[str]:
        """The keys of the letters that were accepted, in order."""
        return [letter["key"] for letter in self.letters]


@contextmanager
def later(**by: float) -> Iterator[None]:
    """So much later, for everybody who asks the application's clock."""
    token = clock.skew.set(clock.skew.get() + timedelta(**by))
    try:
        yield
    finally:
        clock.skew.reset(token)


@asynccontextmanager
async def couriers(
    store: Store, provider: Provider, count: int = 1, **arguments: Any
) -> AsyncIterator[list[Courier]]:
    """Couriers of as many replicas on one store; none sweeps by itself."""
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(provider), base_url="http://provider.test"
    ) as client:
        env = Env(store=store, providers=Providers(lambda _: client))
        yield [Courier(env, 3600, **arguments) for _ in range(count)]


async def rounds(*couriers: Courier) -> None:
    """Lets every courier sweep, all at once, and carry what it took."""
    await asyncio.gather(*(one.sweep() for one in couriers))
    for one in couriers:
        await one.idle()


async def accept(store: Store, id: str = ID, kind: str = "order_fulfilment") -> None:
    async with store.transaction() as tx:
        await records.accept(tx, id=id, kind=kind, idempotency_key=None, request_hash="h", input={})
        await records.mark_scheduled(tx, id)


async def end(store: Store, outcome: str, id: str = ID) -> None:
    async with store.transaction() as tx:
        await records.end(tx, Ending(instance=id, outcome=outcome))


async def open_(store: Store, id: str = ID, *, blocking: bool = True) -> Incident:
    incident = Incident(
        instance=id, key=f"{id}/refund", n=1, kind="undo_failed", reason="r", blocking=blocking
    )
    async with store.transaction() as tx:
        await interventions.open_(tx, incident)
    return incident


async def intervention(store: Store, id: str = f"{ID}/refund/1") -> Any:
    async with store.reading() as tx:
        return await interventions.get(tx, id)


async def answer(store: Store, id: str = f"{ID}/refund/1") -> None:
    async with store.transaction() as tx:
        assert await interventions.answer(tx, id, action="retry", note="n", by="p")


async def hear(store: Store, type: str, event_id: str = "e-1", id: str = ID) -> None:
    async with store.transaction() as tx:
        name = type.split(".")[0]
        await inbox.keep(tx, instance=id, event_id=event_id, name=name, type=type, data={})


async def consumers(store: Store, type: str, id: str = ID) -> list[str | None]:
    """Who has dealt with the events of a type."""
    async with store.reading() as tx:
        rows = await inbox.named(tx, id, type.split(".")[0])
    return [row["consumed_by"] for row in rows if row["type"] == type]
