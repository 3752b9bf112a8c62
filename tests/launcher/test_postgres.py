"""The test server: real, on loopback, and what it acknowledged survives a kill."""

from pathlib import Path

import asyncpg
import pytest

from launcher import LauncherError, Settings, Stack, postgres
from tests.launcher.conftest import STANDIN


@pytest.fixture(autouse=True)
def _server_installed() -> None:
    if postgres.find_binaries() is None:
        pytest.skip(postgres.HOW)


async def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def test_it_comes_back_from_a_kill_with_its_data() -> None:
    with postgres.temporary() as server:
        url = server.create_database("shop")
        await ask(url, "CREATE TABLE t AS SELECT 7 AS n")
        old = server.pid
        server.kill()
        server.start()
        assert server.pid != old
        assert await ask(url, "SELECT n FROM t") == [(7,)]
        assert await ask(url, "SHOW fsync") == [("on",)]
        with pytest.raises(LauncherError, match='database "shop" already exists'):
            server.create_database("shop")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(url.replace("/postgres:", "/postgres:x"), "SELECT 1")


def test_a_stack_can_keep_its_state_in_it(tmp_path: Path) -> None:
    with postgres.temporary() as server:
        settings = Settings.ephemeral(
            tmp_path, store="postgres", postgres_url=server.create_database("steadfast")
        )
        with Stack(settings, app_command=STANDIN, downstream_command=STANDIN):
            assert not (settings.data_dir / "state.db").exists()


def test_without_a_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "find_binaries", lambda: None)
    with pytest.raises(LauncherError, match="apt-get install postgresql"):
        postgres.Postgres(Path("unused"), 1)
