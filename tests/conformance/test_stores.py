"""Every kind of store: what Dapr is told of it, and that a kill loses nothing it acknowledged."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from conformance.clusters import Options, Stores
from conformance.clusters.stores import Access, Plain, Server, kinds
from conformance.plan.contract import load
from launcher.errors import LauncherError
from launcher.net import LOOPBACK, free_ports, wait_until
from launcher.postgres import HOW, find_binaries
from launcher.process import Process
from launcher.settings import RESOURCES, ROOT

TARGET = load(ROOT / "target.toml")
AT = Access("links:9004", "secret", "/data")


@pytest.mark.parametrize("name", kinds())
def test_dapr_s_component_reads_what_the_store_says(name: str) -> None:
    component = (RESOURCES / "components" / name / "statestore.yaml").read_text("utf-8")
    assert f"type: state.{'postgresql' if name == 'postgres' else name}" in component
    assert set(re.findall(r"envRef: (\S+)", component)) == set(kinds()[name].environment(AT))


def test_one_server_for_both_or_two_victims(tmp_path: Path) -> None:
    def victims(chosen: Stores) -> set[str]:
        return set(Options(TARGET, tmp_path, chosen).topology.victims) & {"store", "database"}

    assert victims(Stores.both("postgres")) == {"store"}
    assert victims(Stores("postgres", "redis")) == {"store", "database"}
    assert victims(Stores("postgres", "sqlite")) == {"database"}
    assert victims(Stores("sqlite", "redis")) == {"store"}
    assert victims(Stores.both("sqlite")) == set()


def test_a_choice_is_written_as_it_is_given() -> None:
    assert Stores.both("sqlite").flags == "--store sqlite"
    assert Stores("postgres", "redis").flags == "--database postgres --state-store redis"
    assert str(Stores("postgres", "redis")) == "postgres, redis under Dapr"


@pytest.fixture
def redis() -> Server:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no Redis server here: apt-get install redis-server")
    server = kinds()["redis"].server
    assert server is not None
    return server


@pytest.fixture
def running(redis: Server, tmp_path: Path) -> Iterator[tuple[Plain, int, Process]]:
    (port,) = free_ports(1)
    how = redis.plain(tmp_path / "store", port, "secret")
    process = _start(redis, how)
    try:
        wait_until(lambda: redis.unready(LOOPBACK, port, "secret"), 10)
        yield how, port, process
    finally:
        process.stop(10)


def test_redis_keeps_what_it_acknowledged_through_a_kill(
    redis: Server, running: tuple[Plain, int, Process]
) -> None:
    how, port, process = running
    assert _ask(port, "SET a 1") == "+OK"
    process.send(signal.SIGKILL)
    process.wait(10)
    assert redis.unready(LOOPBACK, port, "secret") is not None
    again = _start(redis, how)
    try:
        wait_until(lambda: redis.unready(LOOPBACK, port, "secret"), 10)
        assert _ask(port, "GET a") == "$1"
    finally:
        again.stop(10)


def test_redis_refuses_a_client_without_the_password(
    redis: Server, running: tuple[Plain, int, Process]
) -> None:
    _, port, _ = running
    assert "WRONGPASS" in (redis.unready(LOOPBACK, port, "another") or "")


def test_without_redis_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, redis: Server, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LauncherError, match="apt-get install redis-server"):
        redis.plain(tmp_path / "store", 1, "secret")


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that the server's own user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def test_postgres_takes_the_login_that_the_application_is_given(reachable: Path) -> None:
    if find_binaries() is None:
        pytest.skip(HOW)
    server = kinds()["postgres"].server
    assert server is not None
    (port,) = free_ports(1)
    how = server.plain(reachable / "store", port, "secret")
    assert server.unready(LOOPBACK, port, "secret") is not None
    process = _start(server, how)
    try:
        wait_until(lambda: server.unready(LOOPBACK, port, "secret"), 30)
        login = server.login(Access(f"{LOOPBACK}:{port}", "secret", ""))
        connection = await asyncpg.connect(f"postgresql://{login}", timeout=10)
        await connection.close()
    finally:
        process.stop(10)


def _start(server: Server, how: Plain) -> Process:
    return Process.start(
        list(how.command),
        cwd=how.folder,
        env=os.environ,
        log=how.folder / "log",
        stop_signal=server.stop_signal,
        user=how.user,
    )


def _ask(port: int, command: str) -> str:
    """The first line of the answer."""
    with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
        connection.sendall(f"AUTH secret\r\n{command}\r\nQUIT\r\n".encode())
        with connection.makefile("r") as answer:
            return answer.read().splitlines()[1]
