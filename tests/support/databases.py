"""Databases with today's schema: one is migrated and the others are copies of it.

To migrate takes longer than most tests of what is in them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from launcher.postgres import Postgres
from store import Store
from store.migrate import migrate

TEMPLATE = "migrated"

_sqlite: list[bytes] = []  # the file of the first, once there is one


async def prepare(store: Store) -> None:
    """Gives a database today's schema, unless it has it."""
    if store.engine.dialect.name == "sqlite":
        await asyncio.to_thread(_copy, Path(str(store.engine.url.database)))
    await migrate(store)
    if store.engine.dialect.name == "sqlite" and not _sqlite:
        await asyncio.to_thread(_keep, Path(str(store.engine.url.database)))


def _copy(file: Path) -> None:
    if _sqlite and not file.exists():
        file.write_bytes(_sqlite[0])


def _keep(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    _sqlite.append(file.read_bytes())


def address(url: str) -> str:
    """The address of a database on the server, as the application wants it."""
    return "postgresql+asyncpg://" + url.partition("://")[2]


async def make_template(server: Postgres) -> None:
    """Makes the database that others are copied from; nothing may be connected with it then."""
    store = Store(address(server.create_database(TEMPLATE)))
    await migrate(store)
    await store.close()
