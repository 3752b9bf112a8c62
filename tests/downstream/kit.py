"""A witness in this process or in one of its own, a receiver of callbacks, and patience."""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx

from downstream.app import create_app
from downstream.config import load

SECRET = "whsec_c3RlYWRmYXN0"
PROVIDERS = Path(__file__).parents[2] / "activities" / "providers.toml"
NOWHERE = "http://127.0.0.1:9"
LINES = [{"sku": "SKU-1", "quantity": 2}]
CHARGE = {"amount": 3998, "currency": "EUR", "payment_method": "pm-ok", "customer": "c-17"}
LETTER = {"to": "c-17", "template": "news"}
TRAINING = {"model": "m", "version": "v1", "dataset": "d-1"}
NO_FIELDS: Mapping[str, Any] = {}

T = TypeVar("T")


@dataclass(frozen=True)
class Witness:
    """What a test says to a running witness. A key is `<instance>/<step>`, as everywhere."""

    client: httpx.AsyncClient

    async def do(
        self, operation: str, key: str, fields: Mapping[str, Any] = NO_FIELDS, patience: float = 5
    ) -> httpx.Response:
        """Asks for a do or an undo and waits up to `patience` seconds for the answer."""
        body = {"instance": key.split("/")[0], "reference": key, **fields}
        return await self.client.post(
            f"/{operation.replace('.', '/')}",
            json=body,
            headers={"Idempotency-Key": key},
            timeout=patience,
        )

    async def charge(self, key: str = "order-1/charge", **changes: Any) -> httpx.Response:
        return await self.do("payment.charge", key, {**CHARGE, **changes})

    async def refund(
        self, key: str = "order-1/refund", undoes: str = "order-1/charge"
    ) -> httpx.Response:
        return await self.do("payment.refund", key, {"undoes": undoes})

    async def ship(
        self, key: str = "order-1/ship", sku: str = "SKU-1", country: str = "DE"
    ) -> httpx.Response:
        lines = [*LINES, {"sku": sku, "quantity": 1}]
        fields = {"ship_to": {"country": country}, "lines": lines}
        return await self.do("carrier.create_shipment", key, fields)

    async def cancel_shipment(self, instance: str = "order-1") -> httpx.Response:
        fields = {"undoes": f"{instance}/ship"}
        return await self.do("carrier.cancel_shipment", f"{instance}/cancel", fields)

    async def look_up(self, operation: str, reference: str) -> httpx.Response:
        path = f"/{operation.replace('.', '/')}"
        return await self.client.get(path, params={"reference": reference})

    async def authorize(self, instance: str, version: str, model: str = "scoring") -> str:
        """Makes a version live and says what came of it."""
        fields = {"model": model, "version": version}
        answer = await self.do("ml.authorize", f"{instance}/authorize", fields)
        return str(answer.json()["result"])

    async def restore(self, instance: str) -> httpx.Response:
        fields = {"undoes": f"{instance}/authorize"}
        return await self.do("ml.restore_version", f"{instance}/restore", fields)

    async def registers(self, operation: str = "ml.authorize") -> dict[str, str]:
        values: dict[str, str] = (await self.client.get(f"/registers/{operation}")).json()
        return values

    async def listing(self, operation: str, **query: str | int) -> dict[str, Any]:
        """One page."""
        response = await self.client.get(f"/{operation.replace('.', '/')}", params=query)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        return page

    async def script(self, then: dict[str, Any], **rule: Any) -> str:
        response = await self.client.post("/script", json={**rule, "then": then})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def fired(self) -> list[int]:
        return [rule["fired"] for rule in (await self.client.get("/script")).json()]

    async def held(self) -> list[tuple[str, str]]:
        return [(each["key"], each["stage"]) for each in (await self.client.get("/held")).json()]

    async def release(self, **match: str) -> int:
        return int((await self.client.post("/release", json=match)).json()["released"])

    async def attempts(self, instance: str = "order-1") -> list[str]:
        rows = await self._ledger("attempts", instance)
        return [f"{row['operation'].split('.')[1]} {row['result']}" for row in rows]

    async def responses(self, instance: str = "order-1") -> list[str]:
        return [row["response"] for row in await self._ledger("attempts", instance)]

    async def effects(self, instance: str = "order-1") -> list[str]:
        return [row["operation"] for row in await self._ledger("effects", instance)]

    async def _ledger(self, table: str, instance: str) -> list[dict[str, Any]]:
        response = await self.client.get("/ledger", params={"instance": instance})
        rows: list[dict[str, Any]] = response.json()[table]
        return rows


@asynccontextmanager
async def in_process(
    data: Path, webhook_url: str = NOWHERE, config: Path = PROVIDERS
) -> AsyncIterator[Witness]:
    """The real application without a socket; leaving the block stops it in good order."""
    app = create_app(load(config), data=data, webhook_url=webhook_url, webhook_secret=SECRET)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://witness") as client,
    ):
        yield Witness(client)


@asynccontextmanager
async def process(data: Path, webhook_url: str = NOWHERE) -> AsyncIterator[Witness]:
    """The real program; leaving the block kills it with signal 9."""
    port = free_port()
    environment = {
        **os.environ,
        "DOWNSTREAM_HOST": "127.0.0.1",
        "DOWNSTREAM_CONFIG": str(PROVIDERS),
        "DOWNSTREAM_PORT": str(port),
        "DOWNSTREAM_DATA": str(data),
        "DOWNSTREAM_WEBHOOK_URL": webhook_url,
        "DOWNSTREAM_WEBHOOK_SECRET": SECRET,
    }
    root = Path(__file__).parents[2]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "downstream", env=environment, cwd=root
    )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False
        ) as client:

            async def alive() -> bool:
                assert child.returncode is None, "the witness did not start"
                try:
                    return (await client.get("/livez")).is_success
                except httpx.TransportError:
                    return False

            await until(alive, deadline=10)
            yield Witness(client)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@dataclass(frozen=True)
class Heard:
    """One sending of a callback, as it arrived."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


@dataclass
class Receiver:
    """Hears callbacks; answers with `statuses` one after the other, then with 200 for ever."""

    port: int
    statuses: list[int] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def types(self) -> list[str]:
        return [each.event["type"] for each in self.heard]

    async def hears(self, count: int) -> list[Heard]:
        """Waits for so many sendings in all."""

        async def enough() -> bool:
            return len(self.heard) >= count

        await until(enough)
        return self.heard


@contextmanager
def receiver(*statuses: int) -> Iterator[Receiver]:
    """A real HTTP server on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            there.heard.append(Heard(self.path, headers, body))
            self.send_response(there.statuses.pop(0) if there.statuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: what was heard is what the tests look at."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there = Receiver(server.server_port, list(statuses))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield there
        finally:
            server.shutdown()
            thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], Awaitable[T]], deadline: float = 5) -> T:
    """Waits until the condition holds; fails after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (value := await condition()):
        assert time.monotonic() < end, f"{condition} did not hold within {deadline} s"
        await asyncio.sleep(0.02)
    return value
