"""A suite that is killed, or told to stop, leaves nothing: at once, or after its next start.

With kill -9 nothing can be cleaned up: what is left then is found and ended by the next start. The
nasty case is a store that is paused at that moment, which obeys nobody.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from conformance import cli
from conformance.clusters import docker as daemon
from conformance.clusters.leftovers import OWNER
from conformance.clusters.tree import stat, store_parent
from launcher.net import wait_until
from launcher.services import MARK
from launcher.settings import ROOT
from tests.conformance.kit import TRANSFER, command

TARGET = ("--target", str(TRANSFER / "target.toml"), "--paths", "transfer/poor")
STARTED = 90.0  # seconds
STOPPED = 30.0


class Suite:
    """The command as a process, with a folder of its own."""

    def __init__(self, work: Path, *arguments: str) -> None:
        self.work = work
        self.logs = len(self.events_files())
        # In the background of a shell a Ctrl-C is ignored, and so it would be here.
        line = ["env", "--default-signal=INT", *command(*arguments, "--work", work)]
        with (work.parent / "printed").open("ab") as printed:
            self.process = subprocess.Popen(
                line, cwd=ROOT, stdin=subprocess.PIPE, stdout=printed, stderr=printed
            )

    def events_files(self) -> list[Path]:
        return sorted(self.work.glob("runs/*/log.jsonl"))

    def await_event(self, name: str) -> Path:
        def unmet() -> str | None:
            assert self.process.poll() is None, (self.work.parent / "printed").read_text()
            written = self.events_files()[self.logs :]
            found = written and f'"event": "{name}"' in written[-1].read_text("utf-8")
            return None if found else f"{name} in {written}"

        wait_until(unmet, STARTED)
        return self.events_files()[-1]

    def end(self, number: signal.Signals, times: int = 1) -> int:
        for _ in range(times):
            self.process.send_signal(number)
            # Signals that are pending at the same time are one.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
        return self.process.wait(STOPPED)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Suite]]:
    started: list[Suite] = []

    def begin(*arguments: str) -> Suite:
        started.append(Suite(tmp_path / "work", *arguments))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGTERM)


# --- processes -----------------------------------------------------------------------------------


def processes_of(work: Path) -> dict[tuple[int, str], str]:
    """What runs for a folder, by number and moment of its start: by its mark, or where it is."""
    mark = f"{MARK}={work / 'processes'}".encode()
    parent = store_parent(work / "processes")
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with suppress(OSError):
            marked = mark in (folder / "environ").read_bytes().split(b"\0")
            if marked or (folder / "cwd").readlink().is_relative_to(parent):
                found[pid, stat(pid).split()[19]] = (folder / "comm").read_text().strip()
    return found


def paused_of(work: Path) -> list[int]:
    return [pid for pid, _ in processes_of(work) if stat(pid)[:1] == "T"]


def is_clean(work: Path) -> None:
    wait_until(lambda: str(left) if (left := processes_of(work)) else None, 1)
    assert not store_parent(work / "processes").exists()
    assert not (work / "processes" / "state.json").exists()


def test_killed_while_its_store_is_paused_and_then_interrupted(
    start: Callable[..., Suite], tmp_path: Path
) -> None:
    first = start("run", *TARGET, "--store", "postgres", "--faults", "store:pause")
    log = first.await_event("BatchStarted")
    wait_until(lambda: None if len(paused_of(first.work)) > 1 else "a pause", 60)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    left = processes_of(first.work)
    assert "postgres" in left.values()
    assert cli.main(["report", str(log), "--folder", str(tmp_path / "cut off")]) == 0

    second = start("run", *TARGET, "--store", "postgres", "--faults", "store:pause")
    second.await_event("BatchStarted")
    now = processes_of(second.work)
    assert {"daprd", "postgres"} < set(now.values())
    assert not left.keys() & now.keys(), f"{left} outlived the next start: {now}"
    assert second.end(signal.SIGINT) == 130
    is_clean(second.work)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_while_it_starts(
    start: Callable[..., Suite], number: signal.Signals, times: int
) -> None:
    suite = start("check", *TARGET, "--store", "sqlite")
    wait_until(
        lambda: None if "daprd" in processes_of(suite.work).values() else "a sidecar", STARTED
    )
    assert suite.end(number, times) == 130
    is_clean(suite.work)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_again_and_again_to_stop_in_a_batch(
    start: Callable[..., Suite], number: signal.Signals
) -> None:
    suite = start("run", *TARGET, "--store", "sqlite", "--faults", "app:kill")
    suite.await_event("BatchStarted")
    assert suite.end(number, 20) == 130
    is_clean(suite.work)


def test_told_to_stop_while_an_instance_is_held(start: Callable[..., Suite]) -> None:
    point = "transfer/poor@turn:1:dispatch"
    suite = start("debug", *TARGET[:2], "--store", "sqlite", point)
    printed = suite.work.parent / "printed"
    wait_until(lambda: None if b"Enter" in printed.read_bytes() else "a held instance", STARTED)
    assert suite.end(signal.SIGINT) == 130
    is_clean(suite.work)


# --- containers ----------------------------------------------------------------------------------


def made_by(client: docker.DockerClient, suite: Suite, wanted: str = "") -> list[str]:
    """What a suite has made, by the label that names its process."""
    filters = {"label": OWNER}
    found: dict[str, list[Any]] = {
        "container": client.containers.list(all=True, filters=filters, ignore_removed=True),
        "network": client.networks.list(filters=filters),
        "volume": client.volumes.list(filters=filters),
    }

    def is_its_own(each: Any) -> bool:
        owner = each.attrs.get("Config", each.attrs)["Labels"][OWNER]
        return bool(owner.startswith(f"{suite.process.pid}:"))

    return [
        f"{kind} {each.name}"
        for kind, some in found.items()
        for each in some
        if kind.startswith(wanted) and is_its_own(each)
    ]


def test_containers_of_a_killed_suite_and_of_one_that_is_told_to_stop(
    start: Callable[..., Suite],
) -> None:
    client = daemon.connect()
    judge = ("run", *TARGET, "--store", "sqlite", "--cluster", "containers")
    first = start(*judge, "--faults", "app:pause")
    first.await_event("BatchStarted")
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    left = made_by(client, first)
    assert {name.partition(" ")[0] for name in left} == {"container", "network"}

    second = start(*judge, "--faults", "app:pause")
    second.await_event("BatchStarted")
    assert made_by(client, first) == []
    assert made_by(client, second) != []
    printed = (second.work.parent / "printed").read_text()
    assert "left by a run that was killed, now removed: " in printed
    assert [name for name in left if name.partition(" ")[2] not in printed] == []
    assert second.end(signal.SIGTERM) == 130
    assert made_by(client, second) == []


def test_told_to_stop_while_containers_start_and_a_network_that_had_stayed(
    start: Callable[..., Suite],
) -> None:
    client = daemon.connect()
    stayed = f"steadfast-test-{os.getpid()}"
    client.networks.create(stayed, labels={OWNER: "999999999:1"})  # Nobody has this number.
    suite = start("check", *TARGET, "--store", "sqlite", "--cluster", "containers")
    wait_until(lambda: None if made_by(client, suite, "container") else "a container", STARTED)
    assert not client.networks.list(names=[stayed])
    assert suite.end(signal.SIGTERM) == 130
    assert stayed in (suite.work.parent / "printed").read_text()
    assert made_by(client, suite) == []
