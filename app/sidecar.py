"""Watches the sidecar, which can be sick while it says that it is well.

After a worker was killed under load, Dapr 1.18 can end up with its health endpoint at 204 and no
worker connected, for ever (the wedge). Nobody sees that but the worker whose connection it is. A
wedged sidecar still obeys its shutdown call, and whatever supervises it starts what has exited.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import httpx

from app.settings import SidecarSettings

log = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds between looks
GRACE = 15.0  # seconds for a sidecar that was just told to stop


class Watcher:
    """Knows whether this worker is connected, and asks a wedged sidecar to stop."""

    def __init__(
        self,
        sidecar: SidecarSettings,
        wedge_after: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = httpx.AsyncClient(
            base_url=sidecar.http_url, headers=sidecar.headers, timeout=2.0, transport=transport
        )
        self._wedge_after = wedge_after
        self.reachable = False
        self.connected = False
        self.shutdowns = 0

    async def run(self, worker_ready: Callable[[], Awaitable[bool]]) -> None:
        """Looks until cancelled; `worker_ready` says what the worker believes of itself."""
        sick_since: float | None = None
        looked_at = time.monotonic()
        while True:
            await self._look()
            now = time.monotonic()
            # A gap in our own clock means that we were stopped, and others may have been: what
            # we saw before it proves nothing.
            stopped = now - looked_at > INTERVAL + 3.0
            looked_at = now
            # A worker that is still reconnecting is no sign of a wedge: it backs off up to 15 s.
            sick = self.reachable and not self.connected and await worker_ready()
            if not sick or stopped:
                sick_since = None
            elif sick_since is None:
                sick_since = now
            elif now - sick_since >= self._wedge_after:
                await self._ask_to_stop(now - sick_since)
                sick_since = now + GRACE
            await asyncio.sleep(INTERVAL)

    async def _look(self) -> None:
        try:
            response = await self._client.get("/v1.0/metadata")
            response.raise_for_status()
            workers = response.json().get("workflows", {}).get("connectedWorkers", 0)
        except (httpx.HTTPError, ValueError):
            self.reachable = self.connected = False
            return
        self.reachable, self.connected = True, workers >= 1

    async def _ask_to_stop(self, sick_for: float) -> None:
        log.error("sidecar wedged: no worker connected for %.1f s; asking it to stop", sick_for)
        self.shutdowns += 1
        try:
            await self._client.post("/v1.0/shutdown")
        except httpx.HTTPError as error:
            log.warning("sidecar did not answer its shutdown call: %s", error)

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()
