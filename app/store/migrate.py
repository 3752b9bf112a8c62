"""Brings the store's schema to today's version, once, whoever starts first."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from app.store import Store

_LOCK = 0x57EADFA57  # any number that nobody else uses for an advisory lock of this database

PATIENCE = 3600.0  # seconds


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
