"""Redis, with a log of every change that is written before the change is acknowledged.

With its defaults it would forget what it acknowledged within the last minutes when it is killed;
with `appendfsync everysec` as well, as writing may be put off while an fsync is under way. A cut
link loses nothing: a command that had arrived was done.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from conformance.clusters.stores import Access, Contained, Plain, Server, Store
from launcher.errors import LauncherError
from launcher.files import write_private
from launcher.net import LOOPBACK

SETTINGS = {"appendonly": "yes", "appendfsync": "always", "save": '""'}
DATA = "/tmp"  # in a container: any user may write there


def _environment(at: Access) -> dict[str, str]:
    return {"STATE_REDIS_HOST": at.address, "STATE_REDIS_PASSWORD": at.password}


def _login(at: Access) -> str:
    return f":{at.password}@{at.address}/0"


def _contained(password: str) -> Contained:
    settings = {**SETTINGS, "save": "", "dir": DATA, "bind": "0.0.0.0", "requirepass": password}
    flags = (part for name, value in settings.items() for part in (f"--{name}", value))
    return Contained(tuple(flags), entrypoint="redis-server")


def _plain(folder: Path, port: int, password: str) -> Plain:
    program = shutil.which("redis-server")
    if program is None:
        raise LauncherError("there is no Redis server here: apt-get install redis-server")
    folder.mkdir()
    settings = {**SETTINGS, "bind": LOOPBACK, "port": str(port), "requirepass": password}
    lines = (f"{name} {value}\n" for name, value in settings.items())
    # In a file with the owner's rights: every user of the machine sees a command line.
    write_private(folder / "redis.conf", "".join(lines))
    return Plain((program, "redis.conf"), folder)


def _unready(host: str, port: int, password: str) -> str | None:
    """It is ready once it has read what it kept."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = connection.recv(100)
            while answer.count(b"\n") < 2 and (more := connection.recv(100)):
                answer += more
    except OSError as error:
        return str(error)
    return None if b"+PONG" in answer else answer.decode(errors="replace").strip()


STORE = Store(
    environment=_environment,
    server=Server("redis:7", 6379, _contained, _plain, _unready, _login),
)
