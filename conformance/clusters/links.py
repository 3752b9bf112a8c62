"""Links between parts of a cluster, through Toxiproxy: cut and mended over its HTTP interface.

A link that is cut closes its connections and refuses new ones.
"""

from __future__ import annotations

import socket

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

    def set(self, name: str, *, enabled: bool) -> None:
        """Cuts a link or mends it.

        Raises:
            ClusterError: Toxiproxy does not obey.
        """
        self._ask("POST", f"/proxies/{name}", {"enabled": enabled})

    def is_cut(self, name: str) -> bool:
        """Whether a connection is refused just now."""
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

    def _ask(self, method: str, path: str, body: dict[str, object]) -> None:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise ClusterError(f"toxiproxy: {error}") from error
        if response.is_error:
            raise ClusterError(f"toxiproxy {path}: {response.status_code} {response.text}")
