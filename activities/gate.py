"""A gate that many effects pass together and a suspect passes alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """A readers-writer lock of one event loop in which a waiting writer goes first.

    Writers first, because a suspect that could never run alone would never be judged.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._passing = 0
        self._alone = False
        self._suspects_waiting = 0

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Passes beside others, while no suspect runs or waits."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone and not self._suspects_waiting)
            self._passing += 1
        try:
            yield
        finally:
            async with self._changed:
                self._passing -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Passes when nobody else does; everybody else waits meanwhile."""
        async with self._changed:
            self._suspects_waiting += 1
            try:
                await self._changed.wait_for(lambda: not self._alone and not self._passing)
                self._alone = True
            finally:
                self._suspects_waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            async with self._changed:
                self._alone = False
                self._changed.notify_all()
