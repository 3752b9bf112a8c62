"""Group commit: what many callers want done at about the same time is one transaction.

Nobody waits for a timer. What arrives while one transaction is under way is the next one, so a
lone caller pays for a transaction of its own, and a crowd shares.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST = 64  # in one transaction: it holds their locks until it commits


class GroupCommit(Generic[T, R]):
    """Does `work` for many at once, one transaction after the other; of one event loop.

    `work` takes what is wanted, in the order in which it was, commits, and returns as many results.
    """

    def __init__(self, work: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._work = work
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._busy: asyncio.Task[None] | None = None

    async def __call__(self, wanted: T) -> R:
        """Has it done together with what others want, and returns when that is committed.

        Raises:
            Exception: what `work` raised; then nothing of its transaction was done, for anybody.
        """
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, done))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._go_on())
        return await done

    async def _go_on(self) -> None:
        while self._waiting:
            size = min(MOST, len(self._waiting))
            taken = [self._waiting.popleft() for _ in range(size)]
            try:
                results = await self._work([wanted for wanted, _ in taken])
            except BaseException as error:
                _fail([done for _, done in taken], error)
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, done), result in zip(taken, results, strict=True):
                if not done.done():
                    done.set_result(result)


def _fail(waiting: Sequence[asyncio.Future[R]], error: BaseException) -> None:
    for done in waiting:
        if done.done():
            continue
        if isinstance(error, Exception):
            done.set_exception(error)
        else:
            done.cancel()
