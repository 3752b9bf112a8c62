"""The store on both of its databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from launcher.postgres import Postgres, temporary
from store import Store
from store.migrate import migrate


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with temporary() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database(f"t{abs(hash(tmp_path))}")
    return "postgresql+asyncpg://" + url.partition("://")[2]


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url)
    await migrate(opened)
    yield opened
    await opened.close()
