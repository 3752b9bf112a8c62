"""The application's own store: accepted starts, the inbox, attempts and interventions.

SQLAlchemy Core on sqlite (default) or Postgres. A `Store` belongs to one event loop; the HTTP
side and the worker each open their own.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Insert, Table, event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

__all__ = [
    "BUSY_TIMEOUT",
    "Store",
    "StoreAway",
    "columns",
    "insert_once",
    "open_engine",
    "unavailable",
]

TIMEOUT = 10.0  # seconds that a server may take for one answer
IDLE = 1.0  # seconds after which a connection is asked whether it lives before it is used
BUSY_TIMEOUT = 30  # seconds; sqlite has one writer at a time, and the others queue here

# Classes of SQLSTATE: connection, rollback, resources, intervention, system.
AWAY = ("08", "40", "53", "55", "57", "58")
# No such table, no such column: a step that fails for good would be undone, and its money given
# back, because of a table that somebody dropped. sqlite says the same of both.
LOST = ("42P01", "42703")


class StoreAway(OSError):
    """The store is away or busy; workflows know this by its name, and wait until it is back."""


class Store:
    """A pool of connections, and the two ways to use one."""

    def __init__(
        self, url: str, engine: AsyncEngine | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.url = url
        self.engine = engine or open_engine(url, timeout)
        self.unflushed = engine or open_engine(url, timeout, flushed=False)

    @asynccontextmanager
    async def transaction(self, *, flushed: bool = True) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end of the block and rolls back on any error.

        One that need not be `flushed` outlives this process, and may be lost with the machine.

        Raises:
            StoreAway: the store did not answer, or not in time.
        """
        engine = self.engine if flushed else self.unflushed
        with _telling():
            async with engine.begin() as tx, _let_go(tx):
                yield tx

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for single reads; it takes no lock and waits for nobody.

        Raises:
            StoreAway: the store did not answer, or not in time.
        """
        with _telling():
            single = self.engine.execution_options(isolation_level="AUTOCOMMIT")
            async with single.connect() as connection, _let_go(connection):
                yield connection

    async def close(self) -> None:
        """Closes every connection."""
        await self.engine.dispose()
        await self.unflushed.dispose()


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except StoreAway:
        raise
    except Exception as error:
        if unavailable(error):
            raise StoreAway(f"{type(error).__name__}: {error}"[:500]) from error
        raise


@asynccontextmanager
async def _let_go(connection: AsyncConnection) -> AsyncIterator[None]:
    try:
        yield
    except TimeoutError:
        # Whoever answers nothing would let the rollback wait as long once more.
        await connection.invalidate()
        raise


def unavailable(error: BaseException) -> bool:
    """Whether an error says that the store is away or busy, and not that we asked for nonsense.

    A store that has lost a table or a column is away until it has them again.
    """
    if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError | OSError):
        return True  # a TimeoutError is an OSError
    if not isinstance(error, exc.DBAPIError):
        return False
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or state[:2] in AWAY or state in LOST


def open_engine(
    url: str, timeout: float = TIMEOUT, *, flushed: bool = True, **options: Any
) -> AsyncEngine:
    """SQLAlchemy's engine for our store; `options` go to `create_async_engine`.

    On Postgres everything ends after `timeout` seconds: the wait for a connection, to connect, for
    a lock, for an answer. Unless it is `flushed`, a commit does not wait for the disk.
    """
    if not url.startswith("sqlite"):
        limit = str(int(timeout * 1000))
        server = create_async_engine(
            url,
            pool_size=10,
            max_overflow=20,
            pool_timeout=timeout,
            pool_use_lifo=True,
            connect_args={
                "timeout": timeout,
                "command_timeout": timeout,
                # The server gives up what nobody waits for any more.
                "server_settings": {
                    "statement_timeout": limit,
                    "lock_timeout": limit,
                    "idle_in_transaction_session_timeout": str(int(timeout * 6000)),
                    **({} if flushed else {"synchronous_commit": "off"}),
                },
            },
            **options,
        )
        _ping_the_idle(server)
        return server
    arguments = {"connect_args": {"timeout": BUSY_TIMEOUT}, **options}
    engine = create_async_engine(url, **arguments)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        # The write-ahead log (`migrate`) alone would lose the last commits with the power; an
        # accepted start must not be.
        connection.execute(f"PRAGMA synchronous={'FULL' if flushed else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # A deferred transaction that turns writer half-way fails at once with "database is
        # locked", whatever the busy timeout; one that starts as writer queues. Single reads need
        # no transaction, and must not queue behind writers.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _ping_the_idle(engine: AsyncEngine) -> None:
    """Asks a connection whether it lives, unless it was used just now.

    One that fails takes all others of its pool with it, so a restart is noticed at once.
    """
    pool, dialect = engine.sync_engine.pool, engine.dialect

    @event.listens_for(pool, "checkin")
    def note(_: Any, its: Any) -> None:
        its.info["used_at"] = time.monotonic()

    @event.listens_for(pool, "checkout")
    def ask(connection: Any, its: Any, _: Any) -> None:
        if time.monotonic() - its.info.get("used_at", time.monotonic()) < IDLE:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise exc.InvalidatePoolError from error


def columns(table: Table, values: dict[str, Any]) -> dict[str, Any]:
    """The values, as parameters of a statement: SQLAlchemy leaves out those that it does not know.

    Raises:
        KeyError: one names no column of the table.
    """
    for name in values:
        table.c[name]
    return values


async def insert_once(tx: AsyncConnection, table: Table, values: dict[str, Any]) -> bool:
    """Inserts a row unless its key is taken; says whether it did."""
    statement = _insert_once(tx.dialect.name, table)
    return (await tx.execute(statement, columns(table, values))).rowcount == 1


@cache
def _insert_once(dialect: str, table: Table) -> Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()
