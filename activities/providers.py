"""The providers' clients: one each, with an address, a credential and connections of its own.

A bulkhead: a provider that hangs keeps its own connections busy, and nobody else waits for one.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx


class Providers:
    """Clients by the name of the provider, which is what an operation's name begins with.

    Each is made when it is first asked for, so that it belongs to the event loop that uses it.
    """

    def __init__(self, make: Callable[[str], httpx.AsyncClient]) -> None:
        self._make = make
        self._clients: dict[str, httpx.AsyncClient] = {}

    def of(self, operation: str) -> httpx.AsyncClient:
        """The client of whoever carries out this operation."""
        name = operation.partition(".")[0]
        if name not in self._clients:
            self._clients[name] = self._make(name)
        return self._clients[name]

    async def aclose(self) -> None:
        """Closes every connection."""
        for client in self._clients.values():
            await client.aclose()
