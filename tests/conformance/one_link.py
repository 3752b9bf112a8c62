"""As much of a cluster as a fault of links needs: a provider, and a real Toxiproxy before it."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from conformance.clusters import Cluster
from conformance.clusters.links import Links
from conformance.faults.kind import HeldFault, Scene
from conformance.topology import present
from launcher.net import LOOPBACK, free_ports, wait_until
from launcher.runtime import find_or_build

LINK = "app-witness"


class OneLink:
    """The cluster; `asked` counts what came to the provider."""

    def __init__(self, links: Links) -> None:
        self.topology = present(gated=False, servers={})
        self.cut, self.disturb, self.restore = links.cut, links.disturb, links.restore
        self.connect = links.connect
        self.asked = 0

    async def inject(self, kind: HeldFault) -> str:
        """Injects a fault of the witness's links; returns its proof."""

        async def release() -> None: ...

        return await kind.inject(Scene(self.whole, None, "witness", release))

    @property
    def whole(self) -> Cluster:
        """For whoever asks for a cluster, and needs no more than this."""
        return cast(Cluster, self)


@contextmanager
def one_link(folder: Path) -> Iterator[OneLink]:
    """Starts both, and ends them."""
    provider = ThreadingHTTPServer((LOOPBACK, 0), BaseHTTPRequestHandler)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    api, listen = free_ports(2)
    binary = str(find_or_build(("toxiproxy",))["toxiproxy"])
    command = [binary, "-host", LOOPBACK, "-port", str(api)]
    with (folder / "toxiproxy.log").open("w") as log:
        toxiproxy = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: _unreachable(api), 10)
        links = Links(f"http://{LOOPBACK}:{api}")
        upstream = f"{LOOPBACK}:{provider.server_address[1]}"
        links.make(LINK, f"{LOOPBACK}:{listen}", upstream, (LOOPBACK, listen))
        cluster = OneLink(links)

        class Provider(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                cluster.asked += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        provider.RequestHandlerClass = Provider
        yield cluster
        links.close()
    finally:
        toxiproxy.kill()
        toxiproxy.wait(10)
        provider.shutdown()


def _unreachable(port: int) -> str | None:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError as error:
        return f"toxiproxy ({error})"
    return None
