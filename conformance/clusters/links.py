"""Links between parts of a cluster, through Toxiproxy: cut, disturbed and restored over HTTP.

A link that is cut closes its connections and refuses new ones.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from conformance.clusters import ClusterError

DEADLINE = 5.0  # seconds


class Links:
    """The proxies of one Toxiproxy, by the name of their link."""

    def __init__(self, api: str) -> None:
        self._http = httpx.Client(base_url=api, timeout=DEADLINE)
        self._probes: dict[str, tuple[str, int]] = {}
        self._toxics: list[tuple[str, str]] = []  # link and name

    def make(self, name: str, listen: str, upstream: str, probe: tuple[str, int]) -> None:
        """Opens a link. `probe` is the address at which the suite itself can try it.

        Raises:
            ClusterError: Toxiproxy does not obey.
        """
        body = {"name": name, "listen": listen, "upstream": upstream, "enabled": True}
        self._ask("POST", "/proxies", body)
        self._probes[name] = probe

    def cut(self, *names: str) -> None:
        """Breaks those of these links that were made.

        Raises:
            ClusterError: Toxiproxy does not obey.
        """
        self._enable(names, False)

    def disturb(self, name: str, toxic: Mapping[str, Any]) -> None:
        """Adds a toxic to a link, as Toxiproxy describes them.

        Raises:
            ClusterError: Toxiproxy does not obey.
        """
        made = self._ask("POST", f"/proxies/{name}/toxics", toxic).json()
        self._toxics.append((name, made["name"]))

    def restore(self, *names: str) -> None:
        """Lets those of these links that were made work again, without toxics.

        Raises:
            ClusterError: Toxiproxy does not obey.
        """
        for link, toxic in [each for each in self._toxics if each[0] in names]:
            self._ask("DELETE", f"/proxies/{link}/toxics/{toxic}")
            self._toxics.remove((link, toxic))
        self._enable(names, True)

    def connect(self, name: str) -> socket.socket:
        """A new connection over a link, with a timeout of some seconds.

        Raises:
            OSError: it is refused, or does not come about.
        """
        return socket.create_connection(self._probes[name], timeout=DEADLINE)

    def close(self) -> None:
        """Forgets Toxiproxy; the links stay."""
        self._http.close()

    def _enable(self, names: Iterable[str], enabled: bool) -> None:
        for name in names:
            if name in self._probes:
                self._ask("POST", f"/proxies/{name}", {"enabled": enabled})

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise ClusterError(f"toxiproxy: {error}") from error
        if response.is_error:
            raise ClusterError(f"toxiproxy {path}: {response.status_code} {response.text}")
        return response
