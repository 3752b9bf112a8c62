"""What a run prints while it goes on: a line for each thing that happened, and the sum.

On a terminal the batch that is under way has one line of its own, written over and over; anywhere
else only what is final is printed. Each line goes out at once.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

from conformance.events import (
    BatchEnded,
    BatchStarted,
    Event,
    FaultFired,
    Judged,
    MutantJudged,
    Note,
    PathMeasured,
    RunEnded,
    RunStarted,
)
from conformance.report.run import BatchSummary

SHOWN = 40  # A broken application fails everywhere; the report has the rest.
COLOURS = {"pass": "32", "fail": "31;1", "unknown": "33"}


class Terminal:
    """A listener that prints to a stream, by default standard output."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._coloured = self._live and "NO_COLOR" not in os.environ
        self._batches: dict[str, BatchSummary] = {}
        self._places: set[tuple[str, str, str, str]] = set()
        self._wrong = 0
        self._faults = [0, 0]
        self._mutants: list[MutantJudged] = []
        self._of_mutants: list[Judged] = []
        self._points = 0

    def __call__(self, event: Event) -> None:
        """Prints what an event has to say."""
        match event:
            case RunStarted():
                self._run_started(event)
            case Note():
                self._line(f"{event.kind}: {event.text}", "unknown" if event.kind != "info" else "")
            case PathMeasured():
                self._measured(event)
            case BatchStarted():
                self._batches[event.batch] = BatchSummary(event)
                self._status(f"{_of(event)}  {event.instances} instances on their way")
            case FaultFired():
                self._fired(event)
            case Judged():
                self._verdict(event)
            case BatchEnded():
                self._batch_ended(event)
            case MutantJudged():
                self._mutant(event)
            case RunEnded():
                self._sum(event)

    def _run_started(self, event: RunStarted) -> None:
        self._line(f"{event.target} on {event.cluster}, {event.store}")
        if event.versions:
            self._line(", ".join(f"{name} {version}" for name, version in event.versions.items()))

    def _measured(self, event: PathMeasured) -> None:
        left = f", {len(event.unstable)} unstable and not judged" if event.unstable else ""
        if event.mutant is None:
            self._points += len(event.points)
        self._line(f"{event.path}  {len(event.points)} points in {event.seconds:.1f} s{left}")

    def _fired(self, event: FaultFired) -> None:
        self._faults[1] += 1
        self._faults[0] += event.proven
        if batch := self._batches.get(event.batch):
            batch.fired = event
            self._status(f"{_of(batch.started)}  {event.held} held, {_proof(batch)}, settling")

    def _verdict(self, event: Judged) -> None:
        if event.mutant is not None:
            self._of_mutants.append(event)
        else:
            self._places.add((event.path, event.point, event.victim, event.fault))
            if event.verdict != "pass":
                self._say_wrong(event)
        if batch := self._batches.get(event.batch):
            batch.count(event)
            total = batch.started.instances
            self._status(f"{_of(batch.started)}  {batch.judged} of {total} judged")

    def _say_wrong(self, event: Judged) -> None:
        self._wrong += 1
        if self._wrong > SHOWN:
            if self._wrong == SHOWN + 1:
                self._line(f"more than {SHOWN} of them: the report has the others", "unknown")
            return
        where = f"{event.path}  {event.label}  ({event.point})  {event.victim} {event.fault}"
        self._line(f"{'FAIL' if event.verdict == 'fail' else 'UNKNOWN'}  {where}", event.verdict)
        for promise, why in event.broken.items():
            self._line(f"      {promise}: {why}")
        if event.reason:
            self._line(f"      {event.reason}")
        if event.repeat:
            self._line(f"      again: {event.repeat}")

    def _batch_ended(self, event: BatchEnded) -> None:
        batch = self._batches.pop(event.batch, None)
        if batch is None:
            return
        said = f"{_proof(batch)}, settled {event.settled_after:.1f} s"
        if batch.fired:
            held, total = batch.fired.held, batch.started.instances
            said = (
                f"{held if held == total else f'{held} of {total}'} held in "
                f"{event.held_after:.1f} s, {_proof(batch)}, healed {event.healed_after:.1f} s, "
                f"settled {event.settled_after:.1f} s"
            )
        verdicts = _verdicts(event.passed, event.failed, event.unknown)
        colour = "" if event.mutant else _worst(event.failed, event.unknown)
        self._line(f"{_of(batch.started)}  {said}: {verdicts}", colour)

    def _mutant(self, event: MutantJudged) -> None:
        self._mutants.append(event)
        times = f"{event.broken.get(event.promise, 0)} of {event.scenarios}"
        said = f"{'caught' if event.caught else 'MISSED'}  {event.mutant} by {event.promise}"
        self._line(f"{said} ({times})", "pass" if event.caught else "fail")
        others = {name: count for name, count in event.broken.items() if name != event.promise}
        if others:
            broke = ", ".join(f"{name} ({count})" for name, count in others.items())
            self._line(f"        also broke {broke}")
        if event.reason:
            self._line(f"        {event.reason}")

    def _sum(self, event: RunEnded) -> None:
        if not self._places and not self._mutants:  # Only a mutant was run: it is the target.
            self._places = {(e.path, e.point, e.victim, e.fault) for e in self._of_mutants}
            for each in self._of_mutants:
                if each.verdict != "pass":
                    self._say_wrong(each)
        self._line("")
        self._line(
            f"{len(self._places):,} distinct scenarios judged (path, point, victim, fault), "
            f"{event.fired:,} faults proven, in {event.seconds / 60:.1f} minutes"
        )
        self._line(
            f"{self._points:,} points; the fault of {self._faults[0]} of {self._faults[1]} "
            "batches was proven"
        )
        said = _verdicts(event.passed, event.failed, event.unknown, everything=True)
        self._line(said, _worst(event.failed, event.unknown))
        if self._mutants:
            caught = sum(each.caught for each in self._mutants)
            colour = "pass" if caught == len(self._mutants) else "fail"
            self._line(f"{caught} of {len(self._mutants)} mutants caught", colour)

    def _line(self, text: str, colour: str = "") -> None:
        text = self._plain(text)
        if self._coloured and colour:
            text = f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"
        self._out.write(("\r\x1b[K" if self._live else "") + text + "\n")
        self._out.flush()

    def _status(self, text: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._out.write(f"\r\x1b[K{self._plain(text)[:width]}")
            self._out.flush()

    def _plain(self, text: str) -> str:
        """The text without what a target could do to a terminal, in what the stream can encode."""
        text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
        encoding = self._out.encoding or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)


def _of(batch: BatchStarted) -> str:
    name = f"{batch.victim} {batch.fault}"
    return f"{batch.mutant}: {name}" if batch.mutant else name


def _proof(batch: BatchSummary) -> str:
    if batch.fired is None:  # Each instance has a fault of its own: a duplicate, an outage.
        return f"fired {batch.hit} of {batch.judged}"
    return f"{'fired' if batch.fired.proven else 'NOT PROVEN'} ({batch.fired.proof})"


def _verdicts(passed: int, failed: int, unknown: int, everything: bool = False) -> str:
    said = [f"{passed:,} passed"]
    said += [f"{failed:,} failed"] if failed or everything else []
    said += [f"{unknown:,} unknown"] if unknown or everything else []
    return ", ".join(said)


def _worst(failed: int, unknown: int) -> str:
    return "fail" if failed else "unknown" if unknown else "pass"
