"""Brings the store's schema to today's version, once, whoever starts first."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from store import BUSY_TIMEOUT, Store

_LOCK = 0x57EADFA57  # any number that nobody else uses for an advisory lock of this database

PATIENCE = 3600.0  # seconds
BUSY_PAUSE = 0.02  # seconds between two looks at a new file that another replica holds


def upgrade(connection: Connection) -> None:
    """Runs what is missing, inside the caller's transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(store: Store) -> None:
    """Upgrades the schema. Replicas that start together wait for each other."""
    if store.engine.dialect.name != "postgresql":
        await asyncio.to_thread(_write_ahead, store.engine.url.database or "")
        async with store.transaction() as tx:
            await tx.run_sync(upgrade)
        return
    # What changes a large table takes longer than an answer may.
    patient = Store(store.url, timeout=PATIENCE)
    try:
        async with patient.transaction() as tx:
            await tx.run_sync(upgrade)
    finally:
        await patient.close()


def _write_ahead(file: str) -> None:
    """Gives a file its write-ahead log, which it keeps.

    For this sqlite does not queue, whatever the busy timeout: of those that open a new file
    together, all but the first are told at once that it is locked. Nor may a pooled connection be
    told so: its failed cursor is collected in another thread, and waits there for whatever the
    connection is doing by then.
    """
    until = time.monotonic() + BUSY_TIMEOUT
    with closing(sqlite3.connect(file, timeout=BUSY_TIMEOUT, isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(BUSY_PAUSE)
