"""Requests over real connections: what httpx promises of a transport."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from activities.connections import Connections
from tests.support.connections import served

ZIPPED = gzip.compress(b'{"result": "applied"}')
ANSWERS = {
    "/zipped": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
    % (len(ZIPPED), ZIPPED),
    "/elsewhere": b"HTTP/1.1 307 T\r\nLocation: /zipped\r\nContent-Length: 0\r\n\r\n",
    "/cookie": b"HTTP/1.1 204 N\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n",
    "/half": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "/nonsense": b"what?\r\n\r\n",
    "/nothing": b"",
}


@pytest.fixture
async def heard() -> asyncio.Queue[str]:
    return asyncio.Queue()


@pytest.fixture
async def client(heard: asyncio.Queue[str]) -> AsyncIterator[httpx.AsyncClient]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                heard.put_nowait(head)
                path = head.split()[1]
                if path == "/deaf":
                    await reader.read()
                    return
                writer.write(ANSWERS[path])
                await writer.drain()
                if path in ("/half", "/nonsense", "/nothing"):
                    writer.close()
                    return

    async with (
        served(serve) as url,
        httpx.AsyncClient(base_url=url, transport=Connections(2), timeout=0.5) as made,
    ):
        yield made


async def test_an_answer_is_unpacked_once(client: httpx.AsyncClient) -> None:
    assert (await client.get("/zipped")).json() == {"result": "applied"}


async def test_nobody_is_sent_elsewhere_unasked(client: httpx.AsyncClient) -> None:
    assert (await client.get("/elsewhere")).status_code == 307


async def test_headers_are_those_of_the_request_and_of_the_answer(
    client: httpx.AsyncClient, heard: asyncio.Queue[str]
) -> None:
    answer = await client.post("/cookie", json={"a": 1}, headers={"Idempotency-Key": "k"})
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    lines = heard.get_nowait().lower().splitlines()
    assert "idempotency-key: k" in lines
    for name in ("content-type", "content-length", "user-agent", "accept", "host"):
        assert sum(line.startswith(f"{name}:") for line in lines) == 1, name


@pytest.mark.parametrize("path", ["/half", "/nonsense", "/nothing", "/deaf"])
async def test_whatever_is_no_answer_is_an_error_of_the_transport(
    client: httpx.AsyncClient, path: str
) -> None:
    with pytest.raises(httpx.TransportError):
        await client.post(path)
    assert (await client.get("/zipped")).status_code == 200, "the others are served"


async def test_who_is_not_there_is_an_error_of_the_transport() -> None:
    async with httpx.AsyncClient(transport=Connections(2)) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:9/")


async def test_who_waits_for_a_connection_does_not_wait_for_ever(
    client: httpx.AsyncClient, heard: asyncio.Queue[str]
) -> None:
    deaf = [asyncio.create_task(client.post("/deaf", timeout=30)) for _ in range(2)]
    for _ in deaf:
        await heard.get()
    with pytest.raises(httpx.TimeoutException):
        await client.get("/zipped")
    for task in deaf:
        task.cancel()
