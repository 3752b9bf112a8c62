"""An engine for tests of what surrounds it: it holds statuses, and does what it is told to do."""

from __future__ import annotations

from collections import Counter
from typing import Any

from app.engine import ENDED, EngineConfused, EngineStalled, EngineUnavailable, InstanceState


class FakeEngine:
    """Statuses by engine id; every call is counted, and may be made to fail."""

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.unreadable: set[str] = set()
        self.hanging: set[str] = set()
        self.away = False
        self.store_away = False
        self.read_only = False
        self.stalled: set[str] = set()
        self.unstoppable = False
        self.before_stop: Any = None

    def _called(self, call: str, id: str) -> None:
        self.calls[f"{call} {id}"] += 1
        if self.away or id in self.hanging:
            raise EngineUnavailable("away")
        writes = call not in ("state", "answers")
        if self.store_away or id in self.unreadable or (self.read_only and writes):
            raise EngineConfused(f"{call} {id}: UNKNOWN")

    async def state(self, id: str) -> InstanceState | None:
        self._called("state", id)
        status = self.statuses.get(id)
        return InstanceState(status) if status else None

    async def answers(self) -> bool:
        return not self.away and not self.store_away

    async def schedule(self, kind: str, id: str, input: dict[str, Any]) -> None:
        self._called("schedule", id)
        if id in self.stalled:
            raise EngineStalled(f"schedule {id}: actor is stalled")
        self.statuses[id] = "RUNNING"

    async def restart(self, kind: str, id: str, input: dict[str, Any]) -> None:
        await self.stop(id)
        await self.schedule(kind, id, input)

    async def raise_event(self, id: str, name: str) -> None:
        self._called(f"raise_event {name}", id)

    async def stop(self, id: str) -> None:
        self._called("stop", id)
        if self.before_stop is not None:
            await self.before_stop()
        if self.unstoppable:
            raise EngineUnavailable("it does not stop")
        if self.statuses.get(id) not in (None, *ENDED):
            self.statuses[id] = "TERMINATED"

    async def forget(self, id: str) -> None:
        self._called("forget", id)

    async def rest(self, id: str, suspended: bool) -> None:
        self._called("rest", id)
        if self.statuses.get(id) not in (None, *ENDED):
            self.statuses[id] = "SUSPENDED" if suspended else "RUNNING"

    async def purge(self, id: str) -> None:
        self._called("purge", id)
        self.statuses.pop(id, None)
