"""One service that is started again whenever its process has ended."""

import logging
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.process import Process, describe_exit
from launcher.services import Service

log = logging.getLogger(__name__)

SETTLED = 2.0
"""Seconds after which a run counts as a success, and the next start happens at once."""
FIRST_DELAY, LONGEST_DELAY = 0.25, 5.0
"""Seconds before a start that follows a quick end; doubled each time."""


class Supervised:
    """Restarts what *ended*, for whatever reason; what is merely stopped is left alone.

    Not thread-safe; the stack holds its lock around every call that changes something.
    """

    def __init__(self, service: Service, log_dir: Path) -> None:
        self.service = service
        self.log_file = log_dir / f"{service.name}.log"
        self.held = False
        self.ends = 0
        """How often it has ended without being told to stop."""
        self._quick_ends = 0
        self._process: Process | None = None
        self._started = 0.0
        self._due = 0.0

    @property
    def running(self) -> Process | None:
        """The process, unless it has ended."""
        process = self._process
        return process if process is not None and process.exit_status() is None else None

    def keep_up(self) -> bool:
        """Notice an end; start what is due. True when something changed."""
        now = time.monotonic()
        changed = False
        if self._process is not None and (status := self._process.exit_status()) is not None:
            self._process.sweep()
            self._process = None
            self.ends += 1
            self._schedule(now, describe_exit(status))
            changed = True
        if self._process is None and not self.held and now >= self._due:
            self._start(now)
            changed = True
        return changed

    def hold(self, held: bool) -> None:
        """Leave it down when it ends; or no longer, and then a start is due at once."""
        self.held = held
        self._due = 0.0

    def stop(self, timeout: float) -> None:
        """Stop it for good, by force after so many seconds."""
        self.held = True
        if self._process is not None:
            self._process.stop(timeout)
            self._process = None

    def ask_to_stop(self) -> None:
        """Ask and return at once, so that several can stop together."""
        self.held = True
        if self._process is not None:
            self._process.ask_to_stop()

    def state(self) -> dict[str, Any]:
        """Its part of state.json: the pid is null while it is down."""
        running = self.running
        return {"pid": running.pid if running else None, **self.service.ports}

    def kill(self, number: signal.Signals) -> int | None:
        """Send a signal; after SIGKILL, wait until it is gone. None when it is down already."""
        running = self.running
        if running is None:
            return None
        running.send(number)
        if number is signal.SIGKILL:
            running.wait(10)
        return running.pid

    def _start(self, now: float) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("a") as file:
            file.write(f"--- started at {datetime.now(UTC).isoformat(timespec='milliseconds')}\n")
        service = self.service
        self._process = Process.start(
            service.command,
            cwd=service.cwd,
            env=service.env,
            log=self.log_file,
            stop_signal=service.stop_signal,
            user=service.user,
        )
        self._started = now

    def _schedule(self, now: float, how: str) -> None:
        name = self.service.name
        if self.held:
            log.info("%s %s and is left down", name, how)
            return
        self._quick_ends = self._quick_ends + 1 if now - self._started < SETTLED else 0
        delay = 0.0
        if self._quick_ends:
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (self._quick_ends - 1))
        self._due = now + delay
        when = f"in {delay:g} s, {self._quick_ends} quick ends in a row" if delay else "now"
        log.warning("%s %s; starting it again %s", name, how, when)
