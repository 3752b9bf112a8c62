"""A property-based client believes the API's description, with every check that it has."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import uvicorn
from sqlalchemy import func, select

from launcher.net import free_ports
from store import Store
from store.schema import inbox, monitors, records
from tests.support.site import bearer, site

ROLES = ("requester", "approver", "director", "operator")
ROOT = Path(__file__).parents[2]
EXAMPLES = "15"  # of each operation and phase
SEED = os.environ.get("STEADFAST_OPENAPI_SEED", "1")


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Watched, str]]:
    """A site on a port, whose engine obeys and whose sidecar is well."""
    engine = AsyncMock()
    engine.get_workflow_state.return_value = None
    async with site(f"sqlite+aiosqlite:///{folder / 'app.db'}", engine) as made:
        made.services.watcher.reachable = made.services.watcher.connected = True
        (port,) = free_ports(1)
        app = Watched(made.http._transport.app, made.store)  # type: ignore[attr-defined]
        config = uvicorn.Config(app, port=port, lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        try:
            yield app, f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await serving


async def client(url: str, folder: Path, *more: str) -> tuple[int, str]:
    command = ["-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", "all"]
    # In its place comes the one of `tests.support.checks`.
    command += ["--exclude-checks", "positive_data_acceptance"]
    options = ["--max-examples", EXAMPLES, "--seed", SEED, "--no-color", "--continue-on-failure"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        *options,
        *more,
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.checks", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@dataclass
class Watched:
    """Notes what a refused request has changed all the same; the client asks one at a time."""

    app: Any
    store: Store
    changed: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        before, statuses = await rows(self.store), []

        async def heard(message: Any) -> None:
            statuses.append(message.get("status", 0))
            await send(message)

        await self.app(scope, receive, heard)
        if statuses and statuses[0] >= 400 and await rows(self.store) != before:
            self.changed.append(f"{scope['method']} {scope['path']}: {statuses[0]}")


async def rows(store: Store) -> list[int]:
    async with store.reading() as tx:
        queries = [select(func.count()).select_from(one) for one in (records, inbox, monitors)]
        return [(await tx.execute(query)).scalar_one() for query in queries]


async def test_the_description_is_true(tmp_path: Path) -> None:
    token = bearer("op-1", *ROLES)["Authorization"]
    async with served(tmp_path) as (watched, url):
        status, said = await client(url, tmp_path, "--header", f"Authorization: {token}")
    assert status == 0, said
    assert watched.changed == []


async def test_a_stranger_changes_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as (watched, url):
        status, said = await client(url, tmp_path, "--phases", "fuzzing")
        assert await rows(watched.store) == [0, 0, 0]
    assert status == 0, said
