"""One client for each provider: its own address, credential, patience and connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from activities.effect import Env, Fault, look_up
from app.settings import Settings
from app.worker import make_env
from tests.support.connections import served

NOBODY = "http://127.0.0.1:9"


@asynccontextmanager
async def provider(*, answers: bool) -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """A provider that answers 404 to everything, or nothing at all; and what it was asked."""
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            asked.put_nowait((await reader.readuntil(b"\r\n\r\n")).decode())
            if answers:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            await reader.read()

    async with served(serve) as url:
        yield url, asked


@asynccontextmanager
async def environment(folder: Path, **given: object) -> AsyncIterator[Env]:
    env = make_env(
        Settings.model_validate(
            {
                "webhook_secrets": {},
                "database_url": f"sqlite+aiosqlite:///{folder / 'app.db'}",
                "downstream_url": NOBODY,
                **given,
            }
        )
    )
    try:
        yield env
    finally:
        await env.providers.aclose()
        await env.store.close()


async def test_a_provider_that_hangs_faults_nobody_else(tmp_path: Path) -> None:
    async with provider(answers=False) as (deaf, heard), provider(answers=True) as (well, _):
        providers = {"payment": {"url": deaf, "connections": 10}, "carrier": {"url": well}}
        async with environment(tmp_path, providers=providers, provider_timeout=3) as env:
            stuck = [
                asyncio.create_task(look_up(env, "payment.charge", f"k-{n}")) for n in range(300)
            ]
            async with asyncio.timeout(3):
                for _ in range(10):
                    await heard.get()
            async with asyncio.timeout(1):
                assert await look_up(env, "carrier.create_shipment", "k") is None
            faults = await asyncio.gather(*stuck, return_exceptions=True)
            assert {type(fault) for fault in faults} == {Fault}


async def test_a_provider_is_asked_at_its_address_with_its_credential(tmp_path: Path) -> None:
    async with provider(answers=True) as (url, asked):
        providers = {"payment": {"url": f"{url}/v2", "token": "s3cret"}}
        async with environment(tmp_path, providers=providers) as env:
            await look_up(env, "payment.charge", "k")
            with pytest.raises(Fault):
                await look_up(env, "carrier.create_shipment", "k")
        request = asked.get_nowait()
        assert request.startswith("GET /v2/payment/charge?")
        assert "authorization: bearer s3cret" in request.lower()


async def test_the_others_see_no_credential_of_a_provider(tmp_path: Path) -> None:
    async with provider(answers=True) as (url, asked):
        providers = {"payment": {"token": "s3cret"}}
        async with environment(tmp_path, providers=providers, downstream_url=url) as env:
            await look_up(env, "carrier.create_shipment", "k")
        assert "authorization" not in asked.get_nowait().lower()


@pytest.mark.parametrize(
    "providers",
    [
        {"payments": {}},
        {"record": {}},
        {"payment": {"url": "ftp://x"}},
        {"payment": {"timeout": 31}},
        {"payment": {"connections": 0}},
        {"payment": {"token": ""}},
        {"payment": {"adress": "http://x"}},
    ],
)
def test_a_provider_that_makes_no_sense_is_refused_at_the_start(providers: object) -> None:
    with pytest.raises(ValidationError, match="providers"):
        Settings.model_validate({"webhook_secrets": {}, "providers": providers})


def test_a_client_is_made_once() -> None:
    from activities.providers import Providers

    made: list[str] = []

    def make(name: str) -> httpx.AsyncClient:
        made.append(name)
        return httpx.AsyncClient()

    providers = Providers(make)
    assert providers.of("payment.charge") is providers.of("payment.refund")
    assert providers.of("carrier.create_shipment") is not providers.of("payment.charge")
    assert made == ["payment", "carrier"]
