"""An event loop whose time jumps, and processes on it that can be stopped and killed.

When nothing is ready, time is at once that of the next timer: days cost nothing, and no thread and
no socket can change the order of things. A *process* is whatever runs in a context that names it,
and every callback of the loop has a context. The callbacks of a stopped process are kept until it
goes on; those of a dead one never run, so that not one line of its code is executed any more, in
whatever `finally` it was.

Whoever only looks now and then whether there is something to do (an *idler*) looks less and less
often while nothing happens in the whole world, and as often as ever as soon as something does.
Otherwise a document that waits for 30 days would cost five million looks.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import itertools
import logging
import sys
import warnings
import weakref
from asyncio import base_events, events
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any

RESOLUTION = 1e-6  # seconds
AWAKE = 120.0  # seconds without anything until idlers look less often: the ladder needs a minute
STRETCH = 6.0  # an idler's pause, as a multiple of how long nothing has happened
LONGEST = 86_400.0  # seconds that an idler's pause is at most
COLLECT = 200_000  # turns of the loop between collections: at fixed points, for what is freed runs


class Process:
    """Something that lives, stops and dies as a whole: one life of a replica."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number  # of the replica
        self.dead = False
        self.stopped = False
        self.held: list[asyncio.Handle] = []
        self.remains: list[Task] = []


current: ContextVar[Process | None] = ContextVar("current", default=None)


class Task(asyncio.Task):  # type: ignore[type-arg]
    """A task that knows its process; its hash is its number, so that sets keep their order."""

    process: Process | None = None

    def __init__(self, coroutine: Any, *, loop: Loop, context: Context, **options: Any) -> None:
        self._number = next(loop.numbers)
        self.process = context.get(current)
        super().__init__(coroutine, loop=loop, context=context, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


def _make_task(loop: Any, coroutine: Any, context: Context | None = None, **options: Any) -> Task:
    task = Task(coroutine, loop=loop, context=context or copy_context(), **options)
    loop.alive[task] = None
    task.add_done_callback(loop.alive.pop, context=loop.neutral)
    return task


class Loop(base_events.BaseEventLoop):
    """Time begins at 0; `on_jump` is told of every jump, with the new time."""

    _ready: Any
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, on_jump: Callable[[float], None]) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.alive: dict[Task, None] = {}  # held: what is freed before its end runs its `finally`
        self.neutral = Context()  # of what belongs to no process
        self.active_at = 0.0
        self._idlers: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._now = 0.0
        self._on_jump = on_jump
        self._turns = 0
        self._killed = False
        self._naps: list[tuple[asyncio.TimerHandle, float]] = []
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def active(self) -> None:
        """Something has happened: idlers look as often as ever again."""
        self.active_at = self._now
        naps, self._naps = self._naps, []
        for nap, usual in naps:
            if not nap.cancelled() and nap.when() > max(usual, self._now):
                heapq.heappush(self._scheduled, _earlier(nap, max(usual, self._now), self))

    def idler(self, task: asyncio.Task[Any]) -> None:
        """From now on this task only looks now and then whether there is something to do."""
        self._idlers.add(task)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As ever, but for idlers, whose pauses grow."""
        idle = self._now - self.active_at
        longer = self._now + min(STRETCH * (idle if idle > AWAKE else 0.0), LONGEST)
        if longer <= when or asyncio.current_task(self) not in self._idlers:
            return super().call_at(when, callback, *args, context=context)
        nap = super().call_at(longer, callback, *args, context=context)
        self._naps.append((nap, when))
        return nap

    def at(self, when: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        """A timer of the world's own: it belongs to no process, and nobody stretches it."""
        return super().call_at(max(when, self._now), callback, *args, context=self.neutral)

    async def delay(self, seconds: float) -> None:
        """A pause that nobody stretches."""
        done = self.create_future()
        self.at(self._now + seconds, _set, done)
        await done

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> Any:
        """At once, and in this thread."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def kill(self, process: Process) -> None:
        """Not one line of it runs from now on."""
        process.dead = self._killed = True
        process.held.clear()
        # Kept: what is freed is closed, and what is closed runs its `finally`.
        process.remains = [task for task in self.alive if task.process is process]

    def stop_process(self, process: Process) -> None:
        """Nothing of it runs until it goes on."""
        process.stopped = True

    def resume_process(self, process: Process) -> None:
        """It goes on where it was, as if nothing had been."""
        process.stopped = False
        self._ready.extend(process.held)
        process.held.clear()

    def bury(self) -> None:
        """Ends what is left of everybody, after the end of the world; nobody is to hear of it."""
        self.set_exception_handler(lambda *_: None)
        with _hushed():
            self._ready.clear()
            self._scheduled.clear()
            for task in list(self.alive):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
            self._ready.clear()
            self.alive.clear()
            if self._killed:
                gc.collect()
        self.close()

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        self._turns += 1
        if self._turns % COLLECT == 0:
            gc.collect()
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)
        if not ready and not self._stopping:
            if not scheduled:
                raise RuntimeError("nothing will ever happen again")
            self._jump(scheduled[0].when())
        end = self._now + RESOLUTION
        while scheduled and scheduled[0].when() < end:
            ready.append(heapq.heappop(scheduled))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(current)
            if process is None or not (process.dead or process.stopped):
                handle._run()
            elif not process.dead:
                process.held.append(handle)

    def _jump(self, when: float) -> None:
        if when > self._now:
            self._now = when
            self._on_jump(when)

    def _write_to_self(self) -> None:
        """There is nobody to be woken."""

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """Cancelled timers are dropped when it is their time."""


def _earlier(nap: Any, when: float, loop: Any) -> asyncio.TimerHandle:
    return events.TimerHandle(when, _end, (nap,), loop, nap._context)


def _end(nap: Any) -> None:
    # Whoever set it may have cancelled it, and knows of no other.
    if not nap.cancelled():
        callback, arguments = nap._callback, nap._args
        nap.cancel()
        callback(*arguments)


@contextmanager
def _hushed() -> Iterator[None]:
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    logging.disable()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)
        sys.unraisablehook = hook


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _close(coroutine: Any) -> None:
    # It may try to await something on its way out, any number of times: the answer is the same.
    for _ in range(100):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        except BaseException:
            return
        return


def spawn(loop: Loop, context: Context, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Runs something in the context of a process, whoever asks for it."""
    return loop.create_task(work, context=context.copy())
