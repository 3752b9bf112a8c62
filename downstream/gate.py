"""Requests held still, so that something can be done to the application meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from downstream.requests import Ask
from downstream.script import Match, Stage


@dataclass(eq=False)
class Held:
    """One request that waits for its release."""

    ask: Ask
    stage: Stage
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def view(self) -> dict[str, str]:
        """The request as `GET /held` shows it."""
        return {
            "key": self.ask.key,
            "operation": self.ask.operation,
            "instance": self.ask.instance,
            "stage": self.stage,
            "since": self.since.isoformat(timespec="microseconds"),
        }


class Gate:
    """All requests that are held, oldest first."""

    def __init__(self) -> None:
        self._held: dict[Held, None] = {}

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held)

    async def hold(
        self, ask: Ask, stage: Stage, until: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        """Holds a request until it is released, or until `until` returns.

        Returns:
            Whether it was released.
        """
        held = Held(ask, stage)
        self._held[held] = None
        waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(held.released.wait())}
        if until:
            waits.add(asyncio.ensure_future(until()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._held.pop(held, None)
            for wait in waits:
                wait.cancel()
        return held.released.is_set()

    def release(self, match: Match) -> int:
        """Releases every request that the match covers.

        Returns:
            How many there were.
        """
        chosen = [held for held in self if match.covers(held.ask)]
        for held in chosen:
            held.released.set()
            # At once, so that it is not shown or released again before its task runs.
            del self._held[held]
        return len(chosen)
