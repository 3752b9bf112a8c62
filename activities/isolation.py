"""A lock that many effects pass together, and a suspect alone for a moment.

One for each process: what runs in any of its event loops dies with the others.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

LONGEST = 30.0  # seconds
LOOK = 0.02  # seconds between looks at a lock that lets nobody in


@dataclass(eq=False)
class Passage:
    """One effect on its way; `on_company` is told when it is no longer alone."""

    alone: bool
    on_company: Callable[[], Awaitable[None]] | None = None


class IsolationLock:
    """Keeps a suspect apart, but never for long: the providers of others are no hostages.

    A suspect waits up to `quarantine` seconds for the others to be done, letting nobody new in,
    and then has as long for itself. If it is still at it by then, the others pass, and that it was
    alone is no longer said of it. The quarantine doubles with every death, so what kills late is
    found as well.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # it is held for a few instructions, by any event loop
        self._passing = 0
        self._suspect: Passage | None = None

    @asynccontextmanager
    async def pass_(self, quarantine: float | None) -> AsyncIterator[Passage]:
        """Passes; beside others without `quarantine`, and else apart for so many seconds."""
        if quarantine is None:
            await self._until(self._enter, None)
            async with self._inside(Passage(alone=False)) as passage:
                yield passage
            return
        suspect = Passage(alone=True)
        quarantine = min(quarantine, LONGEST)
        await self._until(lambda: self._reserve(suspect), None)
        guard = asyncio.create_task(self._release_after(suspect, quarantine))
        try:
            suspect.alone = await self._until(lambda: not self._passing, quarantine)
            if not suspect.alone:
                self._release(suspect)
            with self._lock:
                self._passing += 1
            async with self._inside(suspect):
                yield suspect
        finally:
            guard.cancel()
            self._release(suspect)

    @asynccontextmanager
    async def _inside(self, passage: Passage) -> AsyncIterator[Passage]:
        try:
            yield passage
        finally:
            with self._lock:
                self._passing -= 1

    async def _until(self, is_so: Callable[[], bool], patience: float | None) -> bool:
        loop = asyncio.get_running_loop()
        until = None if patience is None else loop.time() + patience
        while not is_so():
            if until is not None and loop.time() >= until:
                return False
            await asyncio.sleep(LOOK)
        return True

    def _enter(self) -> bool:
        with self._lock:
            self._passing += self._suspect is None
            return self._suspect is None

    def _reserve(self, suspect: Passage) -> bool:
        with self._lock:
            if self._suspect is None:
                self._suspect = suspect
            return self._suspect is suspect

    def _release(self, suspect: Passage) -> None:
        with self._lock:
            if self._suspect is suspect:
                self._suspect = None

    async def _release_after(self, suspect: Passage, quarantine: float) -> None:
        await asyncio.sleep(2 * quarantine)
        try:
            if suspect.alone and suspect.on_company is not None:
                await suspect.on_company()
        finally:
            self._release(suspect)
