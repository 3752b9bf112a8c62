"""The database of a simulation: real sqlite, the lock of its one writer, and who holds it.

When a process dies its transactions roll back, as the operating system would see to it.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from simulation.driver import Connection, anything, engine, here
from simulation.idlers import HOUSEKEEPING, failed
from simulation.loop import Loop, Process, current
from store import BUSY_TIMEOUT, Store

SHM = Path("/dev/shm")
# What a process calls as it reaches an await: the point, and a detail for the log.
Reach = Callable[[str, str], Awaitable[None]]


class Disk:
    """One database file, the lock of its one writer, and everybody's connections."""

    def __init__(self, loop: Loop, chance: Random, reach: Reach, folder: Path) -> None:
        self.path = folder / "app.db"
        self.away = False
        self.closed = False
        self.touched: Callable[[str], None] = lambda table: None
        self.commits = 0
        self._loop = loop
        self._chance = chance
        self._reach = reach
        self._spare: list[sqlite3.Connection] = []
        self._open: dict[Connection, None] = {}
        self._writer: Connection | None = None
        self._queue: deque[tuple[asyncio.Future[None], Connection]] = deque()
        self._written: dict[str, float] = {}
        self._dates: dict[str, dict[str, tuple[str, str | None]]] = {}
        shutil.copyfile(template(), self.path)
        self._peek = _connect(self.path)

    def connect(self) -> Connection:
        """A connection of the process that asks."""
        self.check()
        raw = self._spare.pop() if self._spare else _connect(self.path)
        connection = Connection(self, raw, current.get())
        self._open[connection] = None
        return connection

    def check(self) -> None:
        """Raises: OperationalError, the store is away."""
        if self.away or self.closed:
            failed()
            raise sqlite3.OperationalError("unable to open database file")

    async def reach(self, point: str, statement: str = "") -> None:
        """An await of a process that works with the store."""
        if not self.closed:
            await self._reach(point, statement)
        self.check()

    async def pause(self, longest: float) -> None:
        """What a disk takes."""
        if not self.closed:
            await self._loop.delay(self._chance.random() * longest)

    async def begin(self, connection: Connection) -> None:
        """Waits for the one place of a writer, in order.

        Raises:
            OperationalError: another holds it for longer than the busy timeout.
        """
        if self._writer is not None:
            turn = self._loop.create_future()
            self._queue.append((turn, connection))
            timer = self._loop.at(self._loop.time() + BUSY_TIMEOUT, _locked, turn)
            try:
                await turn
            except sqlite3.OperationalError:
                failed()
                raise
            finally:
                timer.cancel()
                if turn.cancelled() and self._writer is connection:
                    self.release(connection)
            self.check()
        self._writer = connection
        connection.raw.execute("BEGIN IMMEDIATE")

    def release(self, connection: Connection) -> None:
        """Hands the place to the next one who is still there."""
        if self._writer is connection:
            self._writer = None
            self.next()

    def next(self) -> None:
        """Lets the first of those in the queue write who can."""
        if self._writer is not None:
            return
        for turn, connection in list(self._queue):
            process = connection.process
            if turn.done() or (process and process.dead):
                self._queue.remove((turn, connection))
            elif not (process and process.stopped):
                self._queue.remove((turn, connection))
                self._writer = connection
                turn.set_result(None)
                return

    def abandon(self, process: Process) -> None:
        """Rolls back what a dead process left open."""
        for connection in [each for each in self._open if each.process is process]:
            connection.close()
        self.next()

    def lose(self) -> None:
        """Rolls back everybody's open transactions: the store went away."""
        for connection in list(self._open):
            if connection.raw.in_transaction:
                connection.raw.rollback()
                connection.lost = True
                self.release(connection)

    def give_back(self, connection: Connection) -> None:
        """Takes a connection that is needed no longer."""
        if self._open.pop(connection, 0) is None:
            self.release(connection)
            self._spare.append(connection.raw)

    def wrote(self, table: str) -> None:
        """A row has changed."""
        self._written[table] = self._loop.time()
        if table not in HOUSEKEEPING:
            self._loop.active()
            self._dates.pop(table, None)
        self.touched(table)

    def kept(self, tables: set[str]) -> None:
        """What was written can be seen from now on."""
        self._loop.active()
        self._written.update(dict.fromkeys(tables, self._loop.time()))
        for table in tables:
            self._dates.pop(table, None)

    def next_date(self, table: str, column: str, after: str) -> str | None:
        """The first date in a column that is later than another one."""
        dates = self._dates.setdefault(table, {})
        known = dates.get(column)
        if known is None or after < known[0] or (known[1] is not None and known[1] <= after):
            query = f'SELECT min("{column}") FROM "{table}" WHERE "{column}" > ?'
            known = dates[column] = (
                after,
                self._peek.execute(query, (after,)).fetchone()[0],
            )
        return known[1]

    def finds(self, statement: str, parameters: Sequence[Any]) -> bool:
        """Whether it is answered by anything but nothing, or the number 0."""
        return anything(self._peek.execute(statement, parameters))

    def written_at(self, table: str) -> float:
        """When a table was last written to."""
        return self._written.get(table, -1.0)

    def query(self, statement: str) -> list[Any]:
        """Looks from outside at what is committed."""
        return self._peek.execute(statement).fetchall()

    def close(self) -> None:
        """Ends everything; what is tried afterwards fails."""
        self.closed = True
        for connection in list(self._open):
            connection.close()
        for raw in (*self._spare, self._peek):
            raw.close()


def _locked(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(sqlite3.OperationalError("database is locked"))


def _connect(path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    raw.execute("PRAGMA foreign_keys=ON")
    return raw


def use(disk: Disk) -> None:
    """Makes it the database of the process in this context."""
    here.set(disk)


def store() -> Store:
    """The application's store, on the disk of the context that uses it."""
    return Store("", engine())


@cache
def template() -> Path:
    """An empty database of today's schema, made once in a process."""
    from store.migrate import migrate

    folder = tempfile.TemporaryDirectory(prefix="steadfast-", dir=room())
    path = Path(folder.name) / "template.db"
    _kept.append(folder)

    async def make() -> None:
        made = Store(f"sqlite+aiosqlite:///{path}")
        await migrate(made)
        await made.close()

    asyncio.run(make())
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    return path


_kept: list[Any] = []


def room() -> Path | None:
    """Where files cost nothing, if there is such a place."""
    return SHM if SHM.is_dir() else None
