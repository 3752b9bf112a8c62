"""Many instances at once, each led along its path by a client that does not give up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx

from conformance.clients import GateClient, WitnessClient
from conformance.judge.evidence import Answer
from conformance.plan.contract import Request, Signal, StatusProbe
from conformance.plan.json_pointer import resolve
from conformance.plan.placeholders import fill
from conformance.run.trial import GateNews, Signalled, Trial

STARTING = 24  # starts at the same time
PROBING = 12  # status probes at the same time
TRY_AGAIN = 0.5  # seconds
REQUEST = 20.0  # seconds that a client waits for one answer
STALE = 10.0  # seconds without news from the gate after which the application is asked itself
RESTLESS = 30.0  # the same, for one that moves and is never seen to be idle
PATIENT = 3.0  # seconds between two questions to the application, at most


class Driver:
    """Leads the trials of one batch. Without a gate, only the application tells how far one is."""

    def __init__(
        self,
        trials: Sequence[Trial],
        values: Mapping[str, str],
        gate: GateClient | None,
        witness: WitnessClient,
    ) -> None:
        self.trials = {trial.id: trial for trial in trials}
        self._values = values
        self._gate = gate
        self._witness = witness
        self._http = httpx.AsyncClient(
            timeout=REQUEST, limits=httpx.Limits(max_connections=400, max_keepalive_connections=50)
        )
        self._starting = asyncio.Semaphore(STARTING)
        self._probing = asyncio.Semaphore(PROBING)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Driver:
        if self._gate:
            self._watch = asyncio.create_task(self._watch_gate(self._gate))
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._tasks.values(), *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=REQUEST)
        await self._http.aclose()

    def start(self) -> None:
        """Every trial begins, in order."""
        for trial in self.trials.values():
            self._tasks[trial.id] = asyncio.create_task(self._lead(trial))

    @property
    def running(self) -> list[Trial]:
        """Those that have not ended."""
        return [trial for trial in self.trials.values() if not self._tasks[trial.id].done()]

    async def settle(self, deadline: float) -> None:
        """Waits until all have ended, or until the moment `deadline` of the monotonic clock."""
        pending = [task for task in self._tasks.values() if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=max(0.0, deadline - time.monotonic()))
        for trial in self.trials.values():
            task = self._tasks[trial.id]
            if task.done() and not task.cancelled() and (error := task.exception()):
                trial.failure = f"{type(error).__name__}: {error}"

    async def probe_running(self) -> None:
        """Asks once more about every trial that has not ended."""
        for trial in self.running:
            await self._probe(trial)

    async def start_again(self, trial: Trial) -> None:
        """Sends the start of a trial once more, and keeps the answer."""
        await self._request(trial, trial.path.start, "start again", once=True)

    async def _lead(self, trial: Trial) -> None:
        async with self._starting:
            start = asyncio.create_task(self._start(trial))
            # A start that the engine answers only after its first turn may be held for long.
            await asyncio.wait({start}, timeout=2)
        try:
            for number, signal in enumerate(trial.path.signals, 1):
                await self._until_due(trial, signal)
                if _changes(signal):
                    trial.signalled = Signalled(time.monotonic(), trial.gate.view.turns)
                await self._send(trial, signal, f"signal {number}")
                # What had ended may be begun anew by it: only a probe from now on counts.
                trial.status = replace(trial.status, ended=False)
                if trial.repeat == f"client:signal-{number}":
                    await self._send(trial, signal, f"signal {number} again")
                    trial.sent_twice = True
            await self._until_ended(trial)
            await asyncio.wait({start}, timeout=REQUEST)
        finally:
            start.cancel()

    async def _start(self, trial: Trial) -> None:
        starts = [self._request(trial, trial.path.start, "start")]
        if trial.repeat == "client:start":
            starts.append(self._request(trial, trial.path.start, "start again", once=True))
        await asyncio.gather(*starts)
        trial.sent_twice = len(starts) > 1

    async def _until_due(self, trial: Trial, signal: Signal) -> None:
        pause = 0.1
        while True:
            if self._gate and not _may_be_due(trial, signal):
                await self._until_changed(trial)
                continue
            if not signal.when:
                return
            await self._probe(trial)
            document = trial.status.document
            if document is not None and _holds(document, signal.when):
                return
            if trial.ended:
                # It will not come to this point any more; what is left is to see how it ended.
                return
            # No news from the gate, none from the application: asking costs the latter time.
            await self._until_changed(trial, pause)
            pause = min(2 * pause, PATIENT)

    async def _until_changed(self, trial: Trial, patience: float = STALE) -> None:
        trial.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await trial.changed.wait()

    async def _send(self, trial: Trial, signal: Signal, what: str) -> None:
        if signal.callback:
            callback = fill(signal.callback.model_dump(exclude_none=True), self._named(trial))
            while True:
                try:
                    await self._witness.callback(callback)
                except httpx.TransportError:
                    await asyncio.sleep(TRY_AGAIN)
                    continue
                trial.answers.append(Answer(time.time(), what, 202))
                return
        await asyncio.gather(*(self._request(trial, request, what) for request in signal.requests))

    async def _until_ended(self, trial: Trial) -> None:
        pause = 0.1
        while not trial.ended:
            if self._gate and _is_underway(trial.gate):
                await self._until_changed(trial)
                if not trial.gate.view.ended:
                    continue
            await self._probe(trial)
            if not trial.ended:
                await asyncio.sleep(pause)
                pause = min(2 * pause, PATIENT)

    async def _probe(self, trial: Trial) -> None:
        probe: StatusProbe = trial.path.look
        try:
            async with self._probing:
                response = await self._http.get(
                    fill(probe.url, self._named(trial)),
                    headers=fill(probe.headers, self._named(trial)),
                )
        except httpx.TransportError:
            return
        trial.status = replace(trial.status, missing=response.status_code == probe.missing)
        if not response.is_success:
            return
        document = _json(response)
        trial.status = replace(trial.status, document=document)
        if _holds(document, probe.ended) and not trial.ended:
            outcome = _text(resolve(document, probe.outcome))
            trial.status = replace(
                trial.status, ended=True, ended_at=time.monotonic(), outcome=outcome
            )

    async def _request(
        self, trial: Trial, request: Request, what: str, *, once: bool = False
    ) -> None:
        named = self._named(trial)
        while True:
            try:
                response = await self._http.request(
                    request.method,
                    fill(request.url, named),
                    headers=fill(request.headers, named),
                    json=fill(request.body, named) if request.body is not None else None,
                )
            except httpx.TransportError:
                await asyncio.sleep(TRY_AGAIN)
                continue
            answer = Answer(time.time(), what, response.status_code, request.claims)
            definite = response.status_code in request.accept or once
            if definite or (request.claims and 400 <= response.status_code < 500):
                trial.answers.append(answer)
                return
            if response.status_code < 500 and trial.ended:
                trial.answers.append(answer)
                return
            trial.failure = f"{what}: {response.status_code} {response.text[:200]}"
            await asyncio.sleep(TRY_AGAIN)

    def _named(self, trial: Trial) -> Mapping[str, str]:
        return {**self._values, "id": trial.id}

    async def _watch_gate(self, gate: GateClient) -> None:
        version = 0
        while True:
            try:
                version, changed = await gate.changes(version, 5)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            now = time.monotonic()
            for id, view in changed.items():
                if trial := self.trials.get(id):
                    rested = now if view.idle or view.held else trial.gate.rested
                    trial.gate = GateNews(view, now, rested)
                    trial.changed.set()
            # Many small answers cost more than one of a moment later.
            await asyncio.sleep(0.05)


def _may_be_due(trial: Trial, signal: Signal) -> bool:
    """Whether the instance can have come to where the signal is due, as the gate sees it."""
    view, now = trial.gate.view, time.monotonic()
    if signal.after is not None:
        name, _, number = signal.after.partition("#")
        if view.completed.get(name, 0) < int(number or 1):
            return False
    heard = view.turns > trial.signalled.turns or bool(view.ended)
    if not heard and now - trial.signalled.at < STALE:
        # The last signal has not reached it: the next one might overtake it.
        return False
    if view.idle or view.ended:
        return True
    # After a fault the gate may wait for an answer that died; then the application decides.
    lost = now - trial.gate.heard > STALE or now - trial.gate.rested > RESTLESS
    return not view.held and view.turns > 0 and lost


def _is_underway(news: GateNews) -> bool:
    """Whether the gate knows that an instance has not ended, and will have news of it."""
    fresh = time.monotonic() - news.heard < STALE
    return not news.view.ended and (news.view.held is not None or fresh)


def _changes(signal: Signal) -> bool:
    """Whether a signal makes the instance do something; one that only asks does not."""
    return signal.callback is not None or any(each.method != "GET" for each in signal.requests)


def _holds(document: Any, wanted: Mapping[str, Any]) -> bool:
    return all(_any_of(resolve(document, path), value) for path, value in wanted.items())


def _any_of(found: Any, wanted: Any) -> bool:
    return found in wanted if isinstance(wanted, list | tuple) else found == wanted


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {"": found}


def _text(value: Any) -> str | None:
    """An outcome as a word: the engine keeps its output as JSON, quotes and all."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return None if value is None else str(value)
