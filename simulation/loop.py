"""An event loop whose time jumps, and processes on it that can be stopped and killed.

When nothing is ready, time is at once that of the next timer: days cost nothing, and no thread and
no socket can change the order of things. A *process* is whatever runs in a context that names it,
and every callback of the loop has a context. The callbacks of a stopped process are kept until it
goes on; those of a dead one never run, so that not one line of its code is executed any more, in
whatever `finally` it was.

A loop that only polls whether there is something to do (an *idler*) pauses for as long as
there cannot be, and looks as often as ever as soon as something happens. Otherwise a document that
waits for 30 days would cost five million looks.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import itertools
import logging
import math
import sys
import warnings
from asyncio import base_events, futures, tasks
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol

RESOLUTION = 1e-6  # seconds
# What ends the pauses of `sleep` and of `wait_for`: no idler's other timers are stretched.
PAUSES = (futures._set_result_unless_cancelled, tasks._release_waiter)  # type: ignore[attr-defined]
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


class Idler(Protocol):
    """What is known of a task that only looks now and then."""

    def joined(self) -> None:
        """A task begins in its context."""

    def left(self, _: Any) -> None:
        """One of them is over."""

    def over(self) -> bool:
        """The task pauses; says whether nothing that it began is under way."""

    def until(self, usual: float) -> float:
        """When it has to look again, if that would be at `usual` otherwise."""


idling: ContextVar[Idler | None] = ContextVar("idling", default=None)


class Nap(asyncio.TimerHandle):
    """An idler's pause: `guard` is the timer that really runs.

    `usual` is when it would end if it were not for us, or when the next one would.
    """

    _callback: Any
    _context: Context
    idler: Idler
    interval: float
    usual: float
    guard: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """No timer wakes anything any more."""
        super().cancel()
        if self.guard is not None:
            self.guard.cancel()


class Task(asyncio.Task):  # type: ignore[type-arg]
    """A task that knows its process; its hash is its number, so that sets keep their order."""

    process: Process | None = None
    leads: Idler | None = None  # as the task that pauses for it

    def __init__(self, coroutine: Any, *, loop: Loop, context: Context, **options: Any) -> None:
        self._number = next(loop.numbers)
        self.process, self.of = context.get(current), context.get(idling)
        super().__init__(coroutine, loop=loop, context=context, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


def _make_task(loop: Any, coroutine: Any, context: Context | None = None, **options: Any) -> Task:
    task = Task(coroutine, loop=loop, context=context or copy_context(), **options)
    loop.alive[task] = None
    if task.of is not None:
        task.of.joined()
        task.add_done_callback(task.of.left, context=loop.neutral)
    task.add_done_callback(loop.alive.pop, context=loop.neutral)
    return task


class Loop(base_events.BaseEventLoop):
    """Time begins at 0; `on_jump` is called at every jump, with the new time."""

    _ready: Any
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, on_jump: Callable[[float], None]) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.alive: dict[Task, None] = {}  # held: what is freed before its end runs its `finally`
        self.neutral = Context()  # of what belongs to no process
        self.active_at = 0.0
        self._now = 0.0
        self._on_jump = on_jump
        self._turns = 0
        self._killed = False
        self._naps: list[Nap] = []  # those that are longer than usual
        self._watching: list[asyncio.Future[None]] = []
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def active(self) -> None:
        """Something has happened: idlers look as often as ever again."""
        self.active_at = self._now
        for watching in self._watching:
            _set(watching)
        self._watching.clear()
        naps, self._naps = self._naps, []
        for nap in naps:
            if not nap.cancelled():
                if nap.usual < self._now:
                    missed = (self._now - nap.usual) / nap.interval
                    nap.usual += math.ceil(missed) * nap.interval
                self._guard(nap, nap.usual)

    def idle(self, context: Context, idler: Idler, work: Coroutine[Any, Any, Any]) -> Task:
        """Runs a task that only looks now and then whether there is something to do."""
        context = context.copy()
        context.run(idling.set, idler)
        task = _make_task(self, work, context)
        task.leads = idler
        return task

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As ever, but for idlers, whose pauses end when there can be something to do."""
        idler = callback in PAUSES and getattr(asyncio.current_task(self), "leads", None)
        if not idler or not idler.over():
            return super().call_at(when, callback, *args, context=context)
        nap = Nap(when, callback, args, self, context)
        nap.idler, nap.usual = idler, when
        nap.interval = max(when - self._now, RESOLUTION)
        self._sleep(nap, idler.until(when))
        return nap

    def _sleep(self, nap: Nap, until: float) -> None:
        if until > nap.usual:
            self._naps.append(nap)
        self._guard(nap, until)

    def _guard(self, nap: Nap, when: float) -> None:
        if nap.guard is not None:
            nap.guard.cancel()
        nap.guard = super().call_at(max(when, self._now), self._look, nap, context=nap._context)

    def _look(self, nap: Nap) -> None:
        nap.guard = None
        until = nap.idler.until(self._now)
        if until > self._now:
            nap.usual = self._now + nap.interval
            self._sleep(nap, max(until, nap.usual))
            return
        callback, arguments = nap._callback, nap._args
        nap.cancel()
        callback(*arguments)

    def at(self, when: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        """A timer of the world's own: it belongs to no process, and is never stretched."""
        return super().call_at(max(when, self._now), callback, *args, context=self.neutral)

    async def delay(self, seconds: float) -> None:
        """A pause that is never stretched."""
        done = self.create_future()
        self.at(self._now + seconds, _set, done)
        await done

    async def activity(self, latest: float) -> None:
        """Waits until something happens, or until a time."""
        happened = self.create_future()
        self._watching.append(happened)
        self.at(latest, _set, happened)
        await happened

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
        """Ends every task that is left, silently, after the end of the world."""
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
        """Nothing waits to be woken."""

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """Cancelled timers are dropped when it is their time."""


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
    """Runs something in the context of a process, whichever asks for it."""
    return loop.create_task(work, context=context.copy())
