"""Ports, probes and waiting: everything here talks to this machine only and has a deadline."""

import http.client
import random
import socket
import time
from collections.abc import Callable, Mapping

from launcher.errors import LauncherError, NotReadyError

LOOPBACK = "127.0.0.1"


def obstacle(port: int, host: str = LOOPBACK) -> str | None:
    """Why a server could not listen there now; None when it could."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are only winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def free_ports(count: int) -> range:
    """Neighbouring ports that are unused.

    They come from below the range of source ports: a port "found free" by binding to 0 can be
    taken by any outgoing connection while its server is down, and here servers are often killed.

    Raises:
        LauncherError: when the machine has none left.
    """
    for _ in range(200):
        first = random.randrange(10_000, 32_000 - count)
        ports = range(first, first + count)
        if not any(obstacle(port) for port in ports):
            return ports
    raise LauncherError(f"no {count} neighbouring free ports between 10000 and 32000")


def require_free(ports: Mapping[str, int], host: str) -> None:
    """Refuse to start on a port that cannot be had.

    Args:
        ports: by the name of the setting that changes it.
        host: where ``port``, the application's own, is going to be; the others are on loopback.

    Raises:
        LauncherError: naming every such port and its setting.
    """

    def problems() -> str | None:
        found = (
            f"port {port}: {why}; stop what uses it, or set STEADFAST_{name.upper()} to another"
            for name, port in ports.items()
            if (why := obstacle(port, host if name == "port" else LOOPBACK))
        )
        return "\n".join(found) or None

    try:
        # A process that is just ending has its ports a moment longer.
        wait_until(problems, 1)
    except NotReadyError:
        if found := problems():
            raise LauncherError(found) from None


def status(port: int, path: str, host: str = LOOPBACK) -> int | None:
    """The status code that a GET answers within a second; None without an answer."""
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_until(unmet: Callable[[], str | None], timeout: float) -> None:
    """Wait for a condition, asking every 50 ms and at least once.

    Args:
        unmet: says what is still missing; None when nothing is.
        timeout: seconds.

    Raises:
        NotReadyError: when the time is up; says what was missing at the end.
    """
    deadline = time.monotonic() + timeout
    while (missing := unmet()) is not None:
        if time.monotonic() > deadline:
            raise NotReadyError(f"not after {timeout:g} s: {missing}")
        time.sleep(0.05)
