"""A driver for sqlite that needs no thread: SQLAlchemy's asyncio engine on a simulated disk.

A DBAPI of its own: every call is carried out at once, in the loop, and one that may have to wait
hands a coroutine to SQLAlchemy. Before each statement and around each commit the process may die or
stop.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from simulation.idlers import HOUSEKEEPING, Sweeps
from simulation.loop import Process, idling
from store import open_engine

if TYPE_CHECKING:
    from simulation.disk import Disk

here: ContextVar[Disk] = ContextVar("here")  # the disk of the process in this context


class Connection:
    """A connection, with what SQLAlchemy asks of one."""

    isolation_level: str | None = None

    def __init__(self, disk: Disk, raw: sqlite3.Connection, process: Process | None) -> None:
        self.raw = raw
        self.disk = disk
        self.process = process
        self.lost = False
        self.wrote: set[str] = set()

    def create_function(self, *args: Any, **options: Any) -> None:
        """The dialect's own; no statement of ours needs it."""

    def cursor(self) -> Cursor:
        """A cursor, at once."""
        return Cursor(self)

    def execute(self, statement: str) -> None:
        """A statement whose result is not wanted."""
        Cursor(self).execute(statement)

    def commit(self) -> None:
        """Keeps what was written."""
        if self.lost:
            raise sqlite3.OperationalError("disk I/O error")
        if self.raw.in_transaction:
            await_only(self._commit())

    async def _commit(self) -> None:
        disk = self.disk
        await disk.reach("commit")
        await disk.pause(0.002)
        disk.check()
        self.raw.commit()
        disk.commits += 1
        if self.wrote:
            disk.kept(self.wrote)
            self.wrote = set()
        disk.release(self)
        await disk.reach("committed")

    def rollback(self) -> None:
        """Forgets what was written."""
        self.lost, self.wrote = False, set()
        if self.raw.in_transaction:
            self.raw.rollback()
        self.disk.release(self)

    def close(self) -> None:
        """Gives the connection back as it is."""
        if self.raw.in_transaction:
            self.raw.rollback()
        self.disk.give_back(self)


class Cursor:
    """A cursor, with what SQLAlchemy asks of one."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._raw = connection.raw.cursor()
        self._rows: list[Any] = []

    @property
    def description(self) -> Any:
        """As sqlite3 has it."""
        return self._raw.description

    @property
    def rowcount(self) -> int:
        """As sqlite3 has it."""
        return self._raw.rowcount

    @property
    def lastrowid(self) -> int | None:
        """As sqlite3 has it."""
        return self._raw.lastrowid

    def execute(self, statement: str, parameters: Any = ()) -> None:
        """Carries out a statement, after whatever may happen before it."""
        if not statement.startswith("PRAGMA"):  # what they set holds for every connection already
            await_only(self._execute(statement, parameters))

    def executemany(self, statement: str, parameters: Sequence[Any]) -> None:
        """The same for many rows."""
        await_only(self._executemany(statement, parameters))

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        rows, self._rows = self._rows, []
        return rows

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows."""
        size = size or self.arraysize
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def fetchone(self) -> Any:
        """The next row, if there is one."""
        return self._rows.pop(0) if self._rows else None

    def close(self) -> None:
        """Needed no longer."""
        self._raw.close()

    async def _async_soft_close(self) -> None:
        """All rows are here: nothing is to be awaited."""

    async def _execute(self, statement: str, parameters: Any) -> None:
        connection, disk = self._connection, self._connection.disk
        if connection.lost:
            raise sqlite3.OperationalError("disk I/O error")
        if statement == "BEGIN IMMEDIATE":
            await disk.reach("begin")
            await disk.begin(connection)
            return
        await disk.reach("statement", statement)
        sweeps = _sweeps()
        if sweeps:
            sweeps.asked(statement, parameters)
        self._raw.execute(statement, parameters)
        if self._raw.description:
            self._rows = self._raw.fetchall()
            if sweeps and anything(self._rows):
                sweeps.answered(statement)
        self._note(statement)

    async def _executemany(self, statement: str, parameters: Sequence[Any]) -> None:
        await self._connection.disk.reach("statement", statement)
        self._raw.executemany(statement, parameters)
        self._note(statement)

    def _note(self, statement: str) -> None:
        table = _written(statement)
        if table and self._raw.rowcount:
            self._connection.wrote |= {table} - HOUSEKEEPING
            self._connection.disk.wrote(table)


class Dialect(SQLiteDialect_pysqlite):
    """Connects to the disk of the context, whatever the URL says."""

    driver = "simulated"
    supports_statement_cache = True
    is_async = True
    has_terminate = True

    def connect(self, *_: Any, **__: Any) -> Any:
        """Raises: OperationalError, the store is away."""
        return here.get().connect()

    def do_terminate(self, dbapi_connection: Any) -> None:
        """The same as to close it: there is nothing to wait for."""
        dbapi_connection.close()

    def get_driver_connection(self, connection: Any) -> Any:
        """There is nothing behind it."""
        return connection


registry.register("sqlite.simulated", __name__, Dialect.__name__)


@cache
def engine() -> AsyncEngine:
    """One for all replicas of all simulations: compiled statements are kept in it."""
    return open_engine("sqlite+simulated://", poolclass=NullPool)


def anything(rows: Iterable[Any]) -> bool:
    """Whether a query is answered by anything but nothing, or the number 0."""
    return any(any(row) for row in rows)


def _sweeps() -> Sweeps | None:
    idler = idling.get()
    return idler if isinstance(idler, Sweeps) else None


@cache
def _written(statement: str) -> str | None:
    found = re.match(r'\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+"?(\w+)', statement)
    return found.group(1) if found else None
