"""The store on both of its databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from launcher.postgres import Postgres, temporary
from store import Store
from tests.support.databases import TEMPLATE, address, make_template, prepare


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with temporary() as server:
        asyncio.run(make_template(server))
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return address(server.create_database(f"t{abs(hash(tmp_path))}", TEMPLATE))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url)
    await prepare(opened)
    yield opened
    await opened.close()
