"""Nothing outlives the launcher for ever, however it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from launcher import Settings, Stack
from launcher.net import wait_until
from launcher.process import Process
from launcher.settings import ROOT
from tests.launcher.conftest import STANDIN

LAUNCH = """
import sys
from launcher import Settings, Stack
settings = Settings.model_validate_json(sys.stdin.readline())
command = tuple(sys.argv[1:])
with Stack(settings, app_command=command, downstream_command=command):
    print("up", flush=True)
    sys.stdin.read()
"""


@contextmanager
def launched(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A stack in a process of its own, so that it can be killed."""
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *STANDIN],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(settings.model_dump_json() + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


def pids(settings: Settings) -> dict[str, int]:
    state = json.loads((settings.run_dir / "state.json").read_bytes())
    return {name: entry["pid"] for name, entry in state.items()}


def gone(pid: int) -> str | None:
    """None also for a zombie: the process that adopted it may take its time."""
    return None if status(pid) in ("Z", None) else f"process {pid} has not ended"


def status(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


def test_everything_ends_when_the_launcher_is_killed(tmp_path: Path) -> None:
    settings = Settings.ephemeral(tmp_path)
    with launched(settings) as launcher:
        children = pids(settings)
        assert children.pop("supervisor") == launcher.pid
        launcher.kill()
        for pid in children.values():
            wait_until(partial(gone, pid), 10)


def test_the_next_launcher_ends_what_was_left(tmp_path: Path) -> None:
    settings = Settings.ephemeral(tmp_path)
    with launched(settings) as launcher:
        left = pids(settings)["app"]
        os.kill(left, signal.SIGSTOP)  # So the signal that its parent's death sends has to wait.
        wait_until(lambda: None if status(left) == "T" else f"{status(left)}, not stopped", 5)
        launcher.kill()
        launcher.wait(10)
    assert gone(left) is not None
    with Stack(settings, app_command=STANDIN, downstream_command=STANDIN) as stack:
        assert gone(left) is None
        assert stack.pid("app") != left


def test_a_stranger_with_a_recorded_number_is_spared(tmp_path: Path) -> None:
    settings = Settings.ephemeral(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "state.json").write_text(json.dumps({"app": {"pid": stranger.pid}}))
        with Stack(settings, app_command=STANDIN, downstream_command=STANDIN):
            assert stranger.poll() is None
        stranger.kill()


def test_a_process_takes_its_children_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(["sh", "-c", "sleep 60 & echo $!; exec sleep 60"], log)
    wait_until(lambda: None if log.read_text().endswith("\n") else "a child", 5)
    process.stop(5)
    wait_until(partial(gone, int(log.read_text())), 5)


def test_a_process_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], log)
    wait_until(lambda: None if log.read_text() else "a trap", 5)
    process.stop(0.2)
    assert process.exit_status() == -signal.SIGKILL


def test_a_paused_process_can_be_stopped_gracefully(tmp_path: Path) -> None:
    process = start(["sleep", "60"], tmp_path / "log")
    process.send(signal.SIGSTOP)
    process.stop(5)
    assert process.exit_status() == -signal.SIGTERM


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    process = start(["no-such-program"], tmp_path / "log")
    process.wait(5)
    assert process.exit_status() == 1
    assert (tmp_path / "log").read_text() == "no-such-program: No such file or directory\n"


def start(command: list[str], log: Path) -> Process:
    return Process.start(command, cwd=log.parent, env=os.environ, log=log)
