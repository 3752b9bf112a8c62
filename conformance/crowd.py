"""Many instances at once, each led along its path by a client that does not give up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from conformance.client import Gate, Seen, Witness
from conformance.contract import Look, Request, Signal, WorkflowPath
from conformance.evidence import Answer
from conformance.placeholders import fill
from conformance.pointer import pointer

STARTING = 24  # starts at the same time
LOOKING = 12  # looks at the same time
TRY_AGAIN = 0.5  # seconds
REQUEST = 20.0  # seconds that a client waits for one answer
STALE = 10.0  # seconds without news from the gate after which the application is asked itself
RESTLESS = 30.0  # the same, for one that moves and is never seen to be idle
PATIENT = 3.0  # seconds between two questions to the application, at most


@dataclass(eq=False)
class Member:
    """One instance and what became of it so far.

    `heard` is when the gate last had news of it, `rested` when it was last idle or held.
    `repeated` names what its client sends twice, `client:start` or `client:signal-N`, and
    `sent_twice` says that it did.
    """

    id: str
    path: WorkflowPath
    seen: Seen = field(default_factory=Seen)
    heard: float = field(default_factory=time.monotonic)
    rested: float = field(default_factory=time.monotonic)
    answers: list[Answer] = field(default_factory=list)
    look: dict[str, Any] | None = None
    missing: bool = False
    ended: bool = False
    ended_at: float = 0.0
    outcome: str | None = None
    failure: str = ""
    told_at: float = 0.0
    turns_when_told: int = -1
    repeated: str | None = None
    sent_twice: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Crowd:
    """The members of one batch. Without a gate, only the look tells how far one is."""

    def __init__(
        self,
        members: Sequence[Member],
        values: Mapping[str, str],
        gate: Gate | None,
        witness: Witness,
    ) -> None:
        self.members = {member.id: member for member in members}
        self._values = values
        self._gate = gate
        self._witness = witness
        self._http = httpx.AsyncClient(
            timeout=REQUEST, limits=httpx.Limits(max_connections=400, max_keepalive_connections=50)
        )
        self._starting = asyncio.Semaphore(STARTING)
        self._looking = asyncio.Semaphore(LOOKING)
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Crowd:
        if self._gate:
            self._watch = asyncio.create_task(self._watch_gate(self._gate))
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._lives.values(), *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=REQUEST)
        await self._http.aclose()

    def start(self) -> None:
        """Every member begins its life, in order."""
        for member in self.members.values():
            self._lives[member.id] = asyncio.create_task(self._live(member))

    @property
    def living(self) -> list[Member]:
        """Those that have not ended."""
        return [member for member in self.members.values() if not self._lives[member.id].done()]

    async def settle(self, deadline: float) -> None:
        """Waits until all have ended, or until the moment `deadline` of the monotonic clock."""
        pending = [task for task in self._lives.values() if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=max(0.0, deadline - time.monotonic()))
        for member in self.members.values():
            task = self._lives[member.id]
            if task.done() and not task.cancelled() and (error := task.exception()):
                member.failure = f"{type(error).__name__}: {error}"

    async def last_look(self) -> None:
        """Asks once more about everybody who has not ended."""
        for member in self.living:
            await self._ask_about(member)

    async def start_again(self, member: Member) -> None:
        """Sends the start of a member once more, and keeps the answer."""
        await self._request(member, member.path.start, "start again", once=True)

    async def _live(self, member: Member) -> None:
        async with self._starting:
            start = asyncio.create_task(self._start(member))
            # A start that the engine answers only after its first turn may be held for long.
            await asyncio.wait({start}, timeout=2)
        try:
            for number, signal in enumerate(member.path.signals, 1):
                await self._ripe(member, signal)
                if _changes(signal):
                    member.turns_when_told = member.seen.turns
                    member.told_at = time.monotonic()
                await self._send(member, signal, f"signal {number}")
                # What had ended may have been begun anew by it: only a look from now on counts.
                member.ended = False
                if member.repeated == f"client:signal-{number}":
                    await self._send(member, signal, f"signal {number} again")
                    member.sent_twice = True
            await self._end(member)
            await asyncio.wait({start}, timeout=REQUEST)
        finally:
            start.cancel()

    async def _start(self, member: Member) -> None:
        starts = [self._request(member, member.path.start, "start")]
        if member.repeated == "client:start":
            starts.append(self._request(member, member.path.start, "start again", once=True))
        await asyncio.gather(*starts)
        member.sent_twice = len(starts) > 1

    async def _ripe(self, member: Member, signal: Signal) -> None:
        pause = 0.1
        while True:
            if self._gate and not self._moved(member, signal):
                await self._news(member)
                continue
            if not signal.when:
                return
            await self._ask_about(member)
            if member.look is not None and _holds(member.look, signal.when):
                return
            if member.ended:
                # It will not come to this point any more; what is left is to see how it ended.
                return
            # Nothing new at the gate, nothing new in the look: asking costs the application time.
            await self._news(member, pause)
            pause = min(2 * pause, PATIENT)

    def _moved(self, member: Member, signal: Signal) -> bool:
        """Whether the instance can have come to where the signal is due, as the gate sees it."""
        seen = member.seen
        if signal.after is not None:
            name, _, number = signal.after.partition("#")
            if (seen.completed or {}).get(name, 0) < int(number or 1):
                return False
        told = seen.turns > member.turns_when_told or bool(seen.ended)
        if not told and time.monotonic() - member.told_at < STALE:
            # What it was told last has not reached it: the next word might overtake it.
            return False
        if seen.idle or seen.ended:
            return True
        # After a fault the gate may wait for an answer that died; then the look decides.
        now = time.monotonic()
        lost = now - member.heard > STALE or now - member.rested > RESTLESS
        return not seen.held and seen.turns > 0 and lost

    async def _news(self, member: Member, patience: float = STALE) -> None:
        member.news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await member.news.wait()

    async def _send(self, member: Member, signal: Signal, what: str) -> None:
        if signal.callback:
            callback = fill(signal.callback.model_dump(exclude_none=True), self._named(member))
            while True:
                try:
                    await self._witness.callback(callback)
                except httpx.TransportError:
                    await asyncio.sleep(TRY_AGAIN)
                    continue
                member.answers.append(Answer(time.time(), what, 202))
                return
        await asyncio.gather(*(self._request(member, request, what) for request in signal.requests))

    async def _end(self, member: Member) -> None:
        pause = 0.1
        while not member.ended:
            if (
                self._gate
                and not member.seen.ended
                and (member.seen.held or time.monotonic() - member.heard < STALE)
            ):
                await self._news(member)
                if not member.seen.ended:
                    continue
            await self._ask_about(member)
            if not member.ended:
                await asyncio.sleep(pause)
                pause = min(2 * pause, PATIENT)

    async def _ask_about(self, member: Member) -> None:
        look: Look = member.path.look
        try:
            async with self._looking:
                response = await self._http.get(
                    fill(look.url, self._named(member)),
                    headers=fill(look.headers, self._named(member)),
                )
        except httpx.TransportError:
            return
        member.missing = response.status_code == look.missing
        if not response.is_success:
            return
        member.look = _json(response)
        if _holds(member.look, look.ended) and not member.ended:
            member.outcome = _text(pointer(member.look, look.outcome))
            member.ended, member.ended_at = True, time.monotonic()

    async def _request(
        self, member: Member, request: Request, what: str, *, once: bool = False
    ) -> None:
        named = self._named(member)
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
                member.answers.append(answer)
                return
            if response.status_code < 500 and member.ended:
                member.answers.append(answer)
                return
            member.failure = f"{what}: {response.status_code} {response.text[:200]}"
            await asyncio.sleep(TRY_AGAIN)

    def _named(self, member: Member) -> Mapping[str, str]:
        return {**self._values, "id": member.id}

    async def _watch_gate(self, gate: Gate) -> None:
        version = 0
        while True:
            try:
                version, changed = await gate.changes(version, 5)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            now = time.monotonic()
            for id, seen in changed.items():
                if member := self.members.get(id):
                    member.seen, member.heard = seen, now
                    if seen.idle or seen.held:
                        member.rested = now
                    member.news.set()
            # Many small answers cost more than one of a moment later.
            await asyncio.sleep(0.05)


def _changes(signal: Signal) -> bool:
    """Whether a signal makes the instance do something; one that only asks does not."""
    return signal.callback is not None or any(each.method != "GET" for each in signal.requests)


def _holds(document: Any, wanted: Mapping[str, Any]) -> bool:
    return all(_any_of(pointer(document, path), value) for path, value in wanted.items())


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
