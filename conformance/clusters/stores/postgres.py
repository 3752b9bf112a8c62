"""PostgreSQL.

A SIGKILL loses nothing that was written to the kernel; fsync is for a loss of power, and left out.
A cut link ends its sessions: what was not committed is rolled back.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from conformance.clusters.stores import Access, Contained, Plain, Server, Store
from launcher.files import write_private
from launcher.postgres import Postgres

SETTINGS = ("--fsync=off", "--max_connections=300")


def _login(at: Access) -> str:
    return f"postgres:{at.password}@{at.address}/postgres"


def _contained(password: str) -> Contained:
    return Contained(SETTINGS, {"POSTGRES_PASSWORD": password}, as_user_of_image=True)


def _plain(folder: Path, port: int, password: str) -> Plain:
    folder.mkdir()
    write_private(folder / "password", password)
    server = Postgres(folder, port)
    server.create()
    return Plain((*server.command(), *SETTINGS), folder, server.user)


def _unready(host: str, port: int, password: str) -> str | None:
    """It is ready once it would ask for a password."""
    parameters = b"user\0postgres\0database\0postgres\0\0"
    startup = (len(parameters) + 8).to_bytes(4, "big") + (3 << 16).to_bytes(4, "big") + parameters
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(startup)
            answer = connection.recv(1)
    except OSError as error:
        return str(error)
    return None if answer == b"R" else "it does not take connections yet"


STORE = Store(
    environment=lambda at: {"STATE_CONNECTION_STRING": f"postgresql://{_login(at)}"},
    server=Server("postgres:15", 5432, _contained, _plain, _unready, _login, signal.SIGINT),
)
