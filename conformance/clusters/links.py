"""Links between parts of a cluster, through Toxiproxy: cut and restored over its HTTP interface.

A link that is cut closes its connections and refuses new ones.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

import httpx

from conformance.clusters import ClusterError

DEADLINE = 5.0  # seconds


class Links:
    """The proxies of one Toxiproxy, by the name of their link."""

    def __init__(self, api: str) -> None:
        self._http = httpx.Client(base_url=api, timeout=DEADLINE)
        self._probes: dict[str, tuple[str, int]] = {}

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

    def restore(self, *names: str) -> None:
        """Lets those of these links that were made work again.

        Raises:
            ClusterError: Toxiproxy does not obey.
        """
        self._enable(names, True)

    def is_cut(self, name: str) -> bool:
        """Whether a connection is refused just now; one that was never made has none."""
        if name not in self._probes:
            return True
        try:
            socket.create_connection(self._probes[name], timeout=DEADLINE).close()
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return False

    def close(self) -> None:
        """Forgets Toxiproxy; the links stay."""
        self._http.close()

    def _enable(self, names: Iterable[str], enabled: bool) -> None:
        for name in names:
            if name in self._probes:
                self._ask("POST", f"/proxies/{name}", {"enabled": enabled})

    def _ask(self, method: str, path: str, body: dict[str, object]) -> None:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise ClusterError(f"toxiproxy: {error}") from error
        if response.is_error:
            raise ClusterError(f"toxiproxy {path}: {response.status_code} {response.text}")
