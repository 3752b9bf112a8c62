"""Keeps a set of services up, from a thread, and writes down what runs in state.json."""

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError, NotReadyError
from launcher.files import last_lines
from launcher.net import wait_until
from launcher.rundir import RunDir
from launcher.services import Service
from launcher.supervised import Supervised

log = logging.getLogger(__name__)

POLL = 0.2
"""Seconds between two checks of the processes."""
GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
STOP_ORDER = ("app", "daprd", "downstream", "scheduler", "placement")
"""Each kind waits for the one before, which still needs the later ones to shut down. What is not
named here comes last."""
HOPELESS = 3
"""Ends after which a first start is given up; later, everything is tried for ever."""


class Supervisor:
    """Services come and go while it runs; any thread may call it."""

    def __init__(self, run_dir: RunDir, log_dir: Path) -> None:
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._lock = threading.RLock()
        self._members: dict[str, Supervised] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def start(self, *services: Service) -> None:
        """Start these at once, all together, and supervise them from now on."""
        self.add(*services)
        self._thread.start()

    def stop(self) -> None:
        """Stop everything in order, each kind within 10 s and then by force."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(GRACE)
        with self._lock:
            others = {m.service.kind for m in self._members.values()} - set(STOP_ORDER)
            for kind in (*STOP_ORDER, *sorted(others)):
                self._stop_together([m for m in self._members.values() if m.service.kind == kind])
            self._members.clear()
        self._run_dir.remove_state()

    def join(self) -> None:
        """Return when the supervision has ended; signals are delivered meanwhile."""
        self._thread.join()

    def add(self, *services: Service) -> None:
        """Start these too.

        Raises:
            LauncherError: when there is one of that name already.
        """
        with self._lock:
            for service in services:
                if service.name in self._members:
                    raise LauncherError(f"{service.name} runs already: choose another name")
                self._members[service.name] = Supervised(service, self._log_dir)
            self._keep_up()

    def remove(self, name: str) -> None:
        """Stop one, by force after 10 s, and forget it."""
        with self._lock:
            self.member(name).stop(GRACE)
            del self._members[name]
            self._write_state()

    def hold(self, name: str, held: bool) -> None:
        """Leave it down when it ends, or supervise it again: then it is started if it is down."""
        with self._lock:
            self.member(name).hold(held)
            self._keep_up()

    def member(self, name: str) -> Supervised:
        """One of them.

        Raises:
            LauncherError: when there is none of that name; says which there are.
        """
        try:
            return self._members[name]
        except KeyError:
            known = ", ".join(self._members) or "nothing"
            raise LauncherError(f"there is no {name} here; there is {known}") from None

    def members(self) -> list[Supervised]:
        """All of them, held ones too."""
        with self._lock:
            return list(self._members.values())

    def await_first_start(self, timeout: float) -> None:
        """Wait until everything is ready, telling the log what is.

        Raises:
            NotReadyError: after so many seconds, or as soon as something ends again and again.
        """
        began = time.monotonic()
        waiting = self.members()

        def unmet() -> str | None:
            missing = []
            for member in list(waiting):
                name = member.service.name
                if (answer := member.service.unready()) is None:
                    waiting.remove(member)
                    log.info("%s is ready after %.1f s", name, time.monotonic() - began)
                elif member.ends >= HOPELESS:
                    raise NotReadyError(f"{name} keeps ending; {last_lines(member.log_file)}")
                else:
                    missing.append(answer)
            return ", ".join(missing) or None

        wait_until(unmet, timeout)

    def _supervise(self) -> None:
        while not self._stopping.wait(POLL):
            try:
                with self._lock:
                    self._keep_up()
            except OSError:
                # A full disk or process table passes; supervision must outlive it.
                log.exception("could not start something; trying again")

    def _keep_up(self) -> None:
        changed = [member.keep_up() for member in self._members.values()]
        if any(changed):
            self._write_state()

    def _write_state(self) -> None:
        state: dict[str, Any] = {name: member.state() for name, member in self._members.items()}
        self._run_dir.write_state({**state, "supervisor": {"pid": os.getpid()}})

    def _stop_together(self, group: list[Supervised]) -> None:
        deadline = time.monotonic() + GRACE
        for member in group:
            member.ask_to_stop()
        for member in group:
            member.stop(max(0.0, deadline - time.monotonic()))
