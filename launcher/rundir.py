"""The run directory: one launcher at a time, what it runs, and what a dead one left behind."""

import fcntl
import json
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError, NotReadyError
from launcher.files import write_private
from launcher.net import LOOPBACK, wait_until
from launcher.services import MARK

log = logging.getLogger(__name__)


class RunDir:
    """Holds the lock of a run directory from :meth:`acquire` to :meth:`release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state_file = path / "state.json"
        self._lock: int | None = None

    def acquire(self) -> None:
        """Become the one launcher of this directory. The kernel frees it when we die.

        Raises:
            LauncherError: when there is one already; says its pid and address.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise LauncherError(
                f"already running: {self._describe()}; stop it, or choose another STEADFAST_RUN_DIR"
            ) from None
        self._lock = lock

    def is_held(self) -> bool:
        """Whether a launcher runs here, ours or another."""
        if self._lock is not None:
            return True
        if not (self.path / "lock").exists():
            return False
        with (self.path / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def release(self) -> None:
        """Let the next one have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read_state(self) -> dict[str, Any]:
        """What state.json says; empty when it is not there."""
        try:
            state: dict[str, Any] = json.loads(self.state_file.read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return state

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace state.json in one step."""
        write_private(self.state_file, json.dumps(state, indent=2) + "\n")

    def remove_state(self) -> None:
        """Nothing runs any more."""
        self.state_file.unlink(missing_ok=True)

    def end_leftovers(self) -> None:
        """End the processes of a launcher that could not do it itself.

        Only what carries this directory's mark in its environment is touched: a number in a
        file may belong to another process by now. Without /proc nothing is found, and the check
        of the ports names what is in the way.

        Raises:
            NotReadyError: when one of them survives even SIGKILL.
        """
        try:
            self._end_marked(signal.SIGTERM, 10)
        except NotReadyError:
            self._end_marked(signal.SIGKILL, 5)

    def _end_marked(self, number: signal.Signals, timeout: float) -> None:
        found = self._marked()
        if not found:
            return
        names = ", ".join(f"{name} ({pid})" for pid, name in sorted(found.items()))
        log.warning("left by a launcher that was killed, now %s: %s", number.name, names)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)
        wait_until(lambda: f"the end of {names}" if self._marked() else None, timeout)

    def _marked(self) -> dict[int, str]:
        mark = f"{MARK}={self.path}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            # It may end while we look, and others' processes are none of our business.
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "comm").read_text().strip()
        found.pop(os.getpid(), None)
        return found

    def _describe(self) -> str:
        state = self.read_state()
        pid = state.get("supervisor", {}).get("pid", "unknown")
        port = state.get("app", {}).get("port")
        return f"pid {pid}" + (f", http://{LOOPBACK}:{port}" if port else "")
