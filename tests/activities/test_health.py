from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from activities.effect import Env
from activities.health import check
from activities.providers import Providers
from store import Store
from tests.support.connections import served
from workflows.health_monitor import Health


@asynccontextmanager
async def serving(answer: bytes, pause: float = 0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says exactly this to whoever connects, and the requests it saw."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        for byte in (answer[i : i + 1] for i in range(len(answer))) if pause else (answer,):
            writer.write(byte)
            await asyncio.sleep(pause)

    async with served(serve) as url:
        yield f"{url}/health?deep=1", seen


async def asked(url: str, seconds: float = 2) -> Health:
    env = Env(
        store=Store("sqlite+aiosqlite://"), providers=Providers(lambda _: httpx.AsyncClient())
    )
    message: dict[str, Any] = {"url": url, "check_timeout": seconds}
    return await check(env, message)


@pytest.mark.parametrize(
    ("status", "healthy"), [(200, True), (204, True), (302, False), (404, False), (503, False)]
)
async def test_a_2xx_is_healthy_and_a_redirect_is_not_followed(status: int, healthy: bool) -> None:
    head = f"HTTP/1.1 {status} x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with serving(head.encode()) as (url, seen):
        assert await asked(url) == Health(healthy=healthy, reason=f"HTTP {status}")
    (request,) = seen
    assert request.startswith(b"GET /health?deep=1 ")


async def test_the_timeout_is_for_all_of_it() -> None:
    """A byte every 50 ms keeps a client waiting that counts only the time between bytes."""
    async with serving(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200, pause=0.05) as (url, _):
        assert await asked(url, 0.3) == Health(healthy=False, reason="no answer within 0.3 s")


async def test_an_endless_body_is_not_read() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx") as (url, _):
        assert (await asked(url)).healthy


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 999\r\n\r\n"])
async def test_nonsense_is_unhealthy(answer: bytes) -> None:
    async with serving(answer) as (url, _):
        assert not (await asked(url)).healthy


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://nobody.invalid/", "http://[::1", "http://h:99999/"]
)
async def test_nobody_there_is_unhealthy_and_no_error(url: str) -> None:
    assert not (await asked(url)).healthy
