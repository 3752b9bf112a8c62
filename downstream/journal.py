"""The append-only file that everything is rebuilt from; no answer is sent before it is on disk."""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


class JournalError(RuntimeError):
    """The journal cannot be read, or could not be written and must not be trusted further."""


@dataclass
class _Group:
    lines: list[bytes] = field(default_factory=list)
    written: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Journal:
    """Lines of bytes, synced to disk in groups: all that wait while one sync runs share the next.

    Raises:
        JournalError: another process has it open.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise JournalError(
                f"{path} is in use by another process: stop it, or choose another data directory"
            ) from error
        # A file that was just created is lost with its directory entry unless that is synced too.
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        self._group: _Group | None = None
        self._last: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._error: JournalError | None = None

    def replay(self) -> Iterator[bytes]:
        """Yields every whole line, and cuts off a torn last one: no answer has shown it."""
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(end)
                break
            end += len(line)
            yield line

    def append(self, line: bytes) -> Awaitable[None]:
        """Takes one line, without its end; lines are written in the order of the calls.

        Returns:
            An awaitable that is done once the line, and every line before it, is on disk.

        Raises:
            JournalError: the disk failed, now or (when awaited) later. It is final: memory has
                run ahead of the disk, and only a restart brings the two together again.
        """
        if self._error:
            raise self._error
        if self._group is None:
            self._group = _Group()
            self._last = self._group.written
        self._group.lines.append(line + b"\n")
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        # One waiter of a group that is cancelled must not cancel the others.
        return asyncio.shield(self._group.written)

    async def settled(self) -> None:
        """Waits until all that was appended so far is on disk.

        Raises:
            JournalError: some of it never will be.
        """
        if self._last:
            await asyncio.shield(self._last)

    async def close(self) -> None:
        """Writes what is left and releases the file."""
        if self._writer:
            await self._writer
        self._file.close()

    async def _write(self) -> None:
        while group := self._group:
            self._group = None
            if self._error is None:
                try:
                    await asyncio.to_thread(self._sync, b"".join(group.lines))
                except OSError as error:
                    self._error = JournalError(f"{self._path} cannot be written: {error}")
            if self._error is None:
                group.written.set_result(None)
            else:
                group.written.set_exception(self._error)

    def _sync(self, block: bytes) -> None:
        self._file.write(block)
        self._file.flush()
        os.fsync(self._file.fileno())
