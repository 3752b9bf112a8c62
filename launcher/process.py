"""One child process: it ends with its parent, and is stopped within a deadline."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from launcher.errors import NotReadyError

PARENT_DEATH_SIGNAL = Path(__file__).with_name("parent_death_signal.py")

_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
"""The kernel sends the signal when the *thread* that forked ends. This one lives as long as the
process, so that any other thread may start something and end."""


class Process:
    """A running child in a session of its own: a Ctrl-C at our terminal does not reach it."""

    def __init__(self, popen: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
        self._popen = popen
        self._stop_signal = stop_signal
        self._asked = False

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: tuple[int, int] = (-1, -1),
    ) -> "Process":
        """Start a command; what it prints is appended to the log.

        Args:
            command: a command that cannot be run ends with a line in the log and status 1.
            cwd: working directory.
            env: the whole environment.
            log: made, with its folder, when it is not there.
            stop_signal: asks it to stop; also sent when we die, even of kill -9.
            user: uid and gid to become; only root can.
        """
        wrapper = [sys.executable, "-I", "-S", str(PARENT_DEATH_SIGNAL), str(os.getpid())]
        wrapper += [str(int(stop_signal)), str(user[0]), str(user[1])]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            popen = _spawner.submit(_spawn, [*wrapper, *command], cwd, env, output).result(
                timeout=30
            )
        return cls(popen, stop_signal)

    @property
    def pid(self) -> int:
        """Its number, also after it ended."""
        return self._popen.pid

    def exit_status(self) -> int | None:
        """None while it runs (or is paused); minus the signal's number when one ended it."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        self._popen.send_signal(number)

    def wait(self, timeout: float) -> None:
        """Wait until it has ended.

        Raises:
            NotReadyError: after so many seconds.
        """
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise NotReadyError(f"process {self.pid} did not end within {timeout:g} s") from None

    def ask_to_stop(self) -> None:
        """Ask, also when it is paused, and return at once."""
        if not self._asked:  # Dapr takes a second request for "no grace, now".
            self._asked = True
            self.send(self._stop_signal)
            self.send(signal.SIGCONT)

    def stop(self, timeout: float) -> None:
        """Ask it to stop, and kill it if it has not after so many seconds."""
        self.ask_to_stop()
        try:
            self.wait(timeout)
        except NotReadyError:
            self.send(signal.SIGKILL)
            self.wait(10)
        self.sweep()

    def sweep(self) -> None:
        """Kill what the ended process left in its group: it would keep its ports."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _spawn(
    command: list[str], cwd: Path, env: Mapping[str, str], output: BinaryIO
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def describe_exit(status: int) -> str:
    """Words for an exit status."""
    if status >= 0:
        return f"exited with status {status}"
    return f"was ended by {signal.Signals(-status).name}"
