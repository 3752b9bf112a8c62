"""The bookkeeping of one instance: where it is, what it waits for, what is held."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal

from conformance.gates.messages import Activity, ActivityAnswer, Turn, TurnAnswer
from conformance.gates.rules import END, Rule

MessageKind = Literal["dispatch", "completion", "request"]
Happened = Literal["passed", "held", "released", "dropped", "duplicated", "delayed", "lost"]
Task = tuple[int, int]  # the generation and the number of the task in it
REMEMBERED = 500  # messages


@dataclass(slots=True, eq=False)
class Kept:
    """A message that is held; `settle` lets it go (`True`) or drops it."""

    kind: MessageKind
    point: str
    settle: Callable[[bool], None]
    stream: Hashable | None = None


@dataclass(slots=True)
class _Job:
    name: str
    ordinal: int
    completed: bool = False

    def point(self, boundary: str) -> str:
        return f"activity:{self.name}:{self.ordinal}:{boundary}"


class Instance:
    """What one instance has crossed. Turns and activities are told apart by what they are.

    A turn is known by its execution and by how much of its history was committed before, an
    activity by the generation and its task: so whatever is dispatched again is the same one.
    """

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.version = 0
        self.rules: dict[str, list[Rule]] = {}
        self.fired: list[str] = []
        self.held: str | None = None
        self.kept: dict[Kept, None] = {}
        self.points: dict[str, str] = {}
        self.crossed_at: dict[str, float] = {}
        self.messages: deque[tuple[float, str, Happened]] = deque(maxlen=REMEMBERED)
        self.ended: str | None = None
        self.generations = 0
        self._execution = ""
        self._ordinals: dict[tuple[str, int], int] = {}
        self._turn: Turn | None = None
        self._ordinal = 0
        self._acknowledged: set[int] = set()
        self._jobs: dict[Task, _Job] = {}
        self._of_name: Counter[str] = Counter()
        self._events = 0
        self._open: dict[str, Hashable] = {}  # dispatched and not answered, by point
        self._awaited: set[Task] = set()  # scheduled, and no acknowledged turn had the result
        self._had: set[Task] = set()  # whose results an acknowledged turn had
        self._owed: Counter[str] = Counter()  # raised, and no acknowledged turn had the event

    def view(self) -> dict[str, Any]:
        """The instance as `GET /instances` shows it."""
        completed = Counter(job.name for job in self._jobs.values() if job.completed)
        return {
            "turns": len(self._acknowledged),
            "completed": dict(completed),
            "idle": self.idle,
            "held": self.held,
            "fired": list(self.fired),
            "ended": self.ended,
            "generations": self.generations,
        }

    @property
    def idle(self) -> bool:
        """Whether nothing happens until the next event or timer."""
        if self._open or self.held is not None:
            return False
        if self.ended is not None:
            return True
        return bool(self._acknowledged) and not self._awaited and not self._owed

    def note(self, point: str, happened: Happened) -> None:
        """Remembers what became of a message."""
        self.messages.append((time.time(), point, happened))

    def reached(self, point: str, label: str) -> str:
        """Records that a point was crossed; the first label stays."""
        self.points.setdefault(point, label)
        self.crossed_at.setdefault(point, time.time())
        return point

    def turn_dispatched(self, turn: Turn, stream: Hashable) -> str:
        """A turn came from the sidecar on this stream; returns the point."""
        if turn.execution is not None and turn.execution != self._execution:
            self._execution = turn.execution
            self.generations += 1
            self.ended = None
            self._awaited.clear()
        key = (self._execution, turn.past)
        self._ordinal = self._ordinals.setdefault(key, len(self._ordinals) + 1)
        self._turn = turn
        point = f"turn:{self._ordinal}:dispatch"
        if point not in self.points:
            self.reached(point, self._label(turn))
        self._open[f"turn:{self._ordinal}"] = stream
        return point

    def activity_dispatched(self, activity: Activity, stream: Hashable) -> str:
        """An activity came from the sidecar on this stream; returns the point."""
        task = (self.generations, activity.task)
        job = self._jobs.get(task)
        if job is None:
            self._of_name[activity.name] += 1
            job = self._jobs[task] = _Job(activity.name, self._of_name[activity.name])
            self._awaited.add(task)
        self._open[f"task:{task}"] = stream
        return self.reached(job.point("dispatch"), job.name)

    def turn_answered(self, answer: TurnAnswer) -> tuple[str, Callable[[], None]]:
        """The worker answered a turn; returns the point, and what to do once the sidecar knows."""
        ordinal, turn = self._ordinal, self._turn
        label = self.points.get(f"turn:{ordinal}:dispatch", f"turn {ordinal}")
        point = self.reached(f"turn:{ordinal}:completion", label)

        def acknowledge() -> None:
            self._open.pop(f"turn:{ordinal}", None)
            if ordinal in self._acknowledged:
                return
            self._acknowledged.add(ordinal)
            if turn:
                self._brought(turn)
            if answer.ended or answer.continued:
                self._awaited.clear()
            else:
                # A turn that was delivered twice is answered twice, and late for the second time.
                wanted = {(self.generations, task) for task in answer.scheduled}
                self._awaited |= wanted - self._had
            if answer.ended:
                self.ended = answer.ended
                self._owed.clear()
                self.reached(END, f"ended {answer.ended}")

        return point, acknowledge

    def activity_answered(self, answer: ActivityAnswer) -> tuple[str, Callable[[], None]]:
        """The worker answered an activity; returns the same as for a turn."""
        # One that was dispatched again may still be running when the next generation has begun.
        open_ = (key for key in reversed(self._jobs) if f"task:{key}" in self._open)
        now = (self.generations, answer.task)
        task = next((key for key in open_ if key[1] == answer.task), now)
        job = self._jobs.get(task) or _Job("unknown", answer.task)
        point = self.reached(job.point("completion"), job.name)

        def acknowledge() -> None:
            self._open.pop(f"task:{task}", None)
            job.completed = True

        return point, acknowledge

    def event_raised(self, name: str) -> tuple[str, Callable[[], None]]:
        """An event is raised; returns the beginning of its points, and its failing."""
        self._events += 1
        # Before the answer, because the turn that brings it may be over by then.
        event = name.casefold()
        self._owed[event] += self.ended is None
        return f"event:{self._events}", lambda: self._settle(event)

    def stream_lost(self, stream: Hashable) -> None:
        """The stream is gone, and with it what it had brought and what is held of it."""
        if self._turn and self._open.get(f"turn:{self._ordinal}") is stream:
            # It was committed although no answer came back, or it will be dispatched again.
            self._brought(self._turn)
        self._open = {key: each for key, each in self._open.items() if each is not stream}
        for kept in [kept for kept in self.kept if kept.stream is stream]:
            del self.kept[kept]
            self.note(kept.point, "lost")

    def _brought(self, turn: Turn) -> None:
        results = {(self.generations, task) for task, _ in turn.results}
        self._had |= results
        self._awaited -= results
        for name in turn.events:
            self._settle(name.casefold())

    def _settle(self, event: str) -> None:
        self._owed[event] -= 1
        if self._owed[event] <= 0:
            del self._owed[event]

    def _label(self, turn: Turn) -> str:
        news = list(turn.words)
        for task, failed in turn.results:
            job = self._jobs.get((self.generations, task))
            news.append(f"after {job.name if job else 'a task'}{' failed' if failed else ''}")
        news += [f"event {name}" for name in turn.events]
        return f"turn {self._ordinal}, {' and '.join(news) or 'nothing new'}"
