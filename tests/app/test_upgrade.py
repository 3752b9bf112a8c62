"""A database of the version before, with instances under way, on both of its databases."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from app.store import Store, migrate, records

SCRIPTS = Path(migrate.__file__).parent / "migrations"


def _first_version(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


async def test_what_is_under_way_survives_the_upgrade(database_url: str) -> None:
    store = Store(database_url)
    at = "2026-11-01 00:00:00+00:00"
    async with store.transaction() as tx:
        await tx.run_sync(_first_version)
        await tx.execute(
            text(
                "INSERT INTO records (id, engine_id, kind, request_hash, input, state, status, "
                "direction, refused, accepted_at, progress_at, suspended, runs, purged) VALUES "
                f"('o-1', 'o-1', 'order_fulfilment', 'h', '{{}}', 'accepted', 'ACCEPTED', "
                f"'forward', false, '{at}', '{at}', false, 0, false)"
            )
        )
        await tx.execute(
            text(
                "INSERT INTO inbox (instance, event_id, name, type, data, body_hash, received_at, "
                f"raises) VALUES ('o-1', 'e-1', 'carrier', 'carrier.x', '{{}}', 'h', '{at}', 0)"
            )
        )
        await tx.execute(
            text(
                "INSERT INTO waits (instance, token, name, due_at, state) VALUES "
                f"('o-1', 'carrier/1', 'carrier', '{at}', 'open')"
            )
        )
    await migrate.migrate(store)
    async with store.transaction() as tx:
        kept = (await tx.execute(text("SELECT instance, name, event_id FROM inbox"))).all()
        claimed = await records.claim_unscheduled(tx, 10, 1)
    assert [tuple(row) for row in kept] == [("o-1", "carrier", "e-1")]
    assert [row["id"] for row in claimed] == ["o-1"]
    await store.close()
