"""What a run has to tell: typed events, written as JSON lines, from which every report is made.

The engine of the suite emits them; the terminal, JUnit and the HTML report only read them
(schemathesis has this shape). So a report can be made again from the log alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

Verdict = Literal["pass", "fail", "unknown"]

_KINDS: dict[str, type[Event]] = {}
E = TypeVar("E", bound="type[Event]")


def _event(cls: E) -> E:
    _KINDS[cls.__name__] = cls
    return cls


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events; `at` is seconds since the epoch."""

    name: ClassVar[str] = ""
    at: float = field(default_factory=time.time)


@_event
@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run begins. `versions` are those of the runtime and of the suite's parts.

    `promises` says each promise in words.
    """

    target: str
    cluster: str
    store: str
    command: str
    versions: dict[str, str] = field(default_factory=dict)
    promises: dict[str, str] = field(default_factory=dict)


@_event
@dataclass(frozen=True, kw_only=True)
class Note(Event):
    """A line that a reader of the report must see: a replaced sidecar, a split batch."""

    kind: Literal["wedge", "split", "unstable", "supervision", "info"]
    text: str


@_event
@dataclass(frozen=True, kw_only=True)
class PathMeasured(Event):
    """The points that the dry runs of a path crossed: `[{"point": …, "label": …}]`, in order.

    A point that not every dry run crossed is in `unstable` and is not judged.
    """

    path: str
    workflow: str
    points: list[dict[str, str]]
    unstable: list[str] = field(default_factory=list)
    seconds: float = 0.0
    mutant: str | None = None


@_event
@dataclass(frozen=True, kw_only=True)
class BatchStarted(Event):
    """So many instances are sent to their points, for one fault."""

    batch: str
    victim: str
    fault: str
    instances: int
    mutant: str | None = None


@_event
@dataclass(frozen=True, kw_only=True)
class FaultFired(Event):
    """The one fault of a batch, with the proof that it happened; held are `held` instances."""

    batch: str
    victim: str
    fault: str
    proven: bool
    proof: str
    held: int


@_event
@dataclass(frozen=True, kw_only=True)
class Judged(Event):
    """The verdict on one scenario.

    `point` is `turn:3:dispatch`, `activity:payment.charge:1:before` and so on. `fired` says whether
    the fault provably hit this instance at this point. `broken` has the promises that do not hold
    and why; `timeline` (`[{"at", "source", "what"}]`, merged from faults, gate, witness and the
    application) is only there where something is wrong. `repeat` is the command that runs it again.
    """

    batch: str
    scenario: str
    path: str
    workflow: str
    point: str
    label: str
    boundary: str
    victim: str
    fault: str
    instance: str
    verdict: Verdict
    fired: bool
    seconds: float
    broken: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    repeat: str = ""
    timeline: list[dict[str, Any]] = field(default_factory=list)
    mutant: str | None = None


@_event
@dataclass(frozen=True, kw_only=True)
class BatchEnded(Event):
    """A batch is judged. Times are seconds: until all were held, until healed, until settled."""

    batch: str
    held_after: float
    healed_after: float
    settled_after: float
    passed: int
    failed: int
    unknown: int
    mutant: str | None = None


@_event
@dataclass(frozen=True, kw_only=True)
class MutantJudged(Event):
    """A broken application and whether it was caught by the promise that it breaks."""

    mutant: str
    summary: str
    promise: str
    caught: bool
    broken: dict[str, int]
    scenarios: int
    reason: str = ""


@_event
@dataclass(frozen=True, kw_only=True)
class RunEnded(Event):
    """The sum of a run. `exit` is 0 all passed, 1 a promise was broken, 2 unknown."""

    judged: int
    fired: int
    passed: int
    failed: int
    unknown: int
    seconds: float
    exit: int


Listener = Callable[[Event], None]


class Log:
    """Writes events to a JSON-lines file and passes them to its listeners."""

    def __init__(self, file: Path, *listeners: Listener) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self._out = file.open("a", encoding="utf-8")
        self._listeners = listeners

    def __call__(self, event: Event) -> None:
        """Emits one event."""
        self._out.write(json.dumps(to_json(event), ensure_ascii=False) + "\n")
        self._out.flush()
        for listener in self._listeners:
            listener(event)

    def close(self) -> None:
        """Ends the file."""
        self._out.close()


def to_json(event: Event) -> dict[str, Any]:
    """An event as a line of the log has it."""
    return {"event": type(event).__name__, **asdict(event)}


def from_json(line: Mapping[str, Any]) -> Event:
    """The event of a line.

    Raises:
        ValueError: of an unknown kind.
    """
    kind = _KINDS.get(line["event"])
    if kind is None:
        raise ValueError(f"unknown event {line['event']}")
    known = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in line.items() if name in known})


def read(file: Path) -> Iterator[Event]:
    """The events of a log; a last line that was cut off by a kill is left out.

    Raises:
        ValueError: a line that is no event; says which.
    """
    # Only a line feed ends a line: splitlines() would also break at U+2028 within a string.
    *lines, _ = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            yield from_json(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}:{number}: not an event: {error}") from error
