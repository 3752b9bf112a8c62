"""A cluster of plain processes on loopback: no Docker needed, for a developer's inner loop."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.clusters import ClusterError, Options, State
from conformance.clusters.layout import Layout, Watched
from conformance.clusters.links import Links
from conformance.clusters.ready import unready_worker
from conformance.clusters.tree import (
    descendants,
    end_store_leftovers,
    fresh_folder,
    send,
    stopped,
    store_parent,
)
from conformance.plan.contract import Value
from conformance.plan.placeholders import environment, fill
from conformance.topology import Victim
from launcher import services
from launcher.errors import LauncherError, NotReadyError
from launcher.files import last_lines
from launcher.net import LOOPBACK, wait_until
from launcher.rundir import RunDir
from launcher.runtime import CORE, find_or_build
from launcher.services import Service
from launcher.supervisor import HOPELESS, Supervisor

GONE = 10.0  # seconds for a process to end or to stop
RUNTIME = "CONFORMANCE_RUNTIME"
"""The variable that names a folder with the binaries of Dapr, and maybe that of Toxiproxy."""


class Processes:
    """Implements `Cluster` on the launcher's supervisor."""

    name = "processes"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._target = options.target
        self._source = options.source or options.target.folder
        self._app_env: Mapping[str, str] = options.env
        self.topology = options.topology
        self.values: Mapping[str, str] = {}
        self._run_dir = RunDir(options.work)
        self._logs = options.work / "logs"
        self._data = options.work / "data"
        self._supervisor = Supervisor(self._run_dir, self._logs)
        self._links: Links | None = None
        self._ended = threading.Event()
        self._ended.set()

    def start(self, timeout: float = 120) -> None:
        """Starts everything; returns when the worker is connected."""
        try:
            named = os.environ.get(RUNTIME)
            self._binaries = find_or_build((*CORE, "toxiproxy"), Path(named) if named else None)
            self._run_dir.acquire()
        except LauncherError as error:
            raise ClusterError(str(error)) from error
        try:
            self._ended.clear()
            # First of all: a server whose children are paused does not end when it is asked to.
            end_store_leftovers(self._options.work)
            self._run_dir.end_leftovers()
            fresh_folder(self._data)
            fresh_folder(self._logs)
            self._start(timeout)
        except LauncherError as error:
            self.stop()
            raise ClusterError(str(error)) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends everything; logs stay."""
        if self._ended.is_set():
            return  # What is in this folder belongs to another run.
        self._ended.set()
        try:
            self._supervisor.stop()
        finally:
            if self._links:
                self._links.close()
                self._links = None
            shutil.rmtree(store_parent(self._options.work), ignore_errors=True)
            self._run_dir.release()

    def identity(self, victim: Victim) -> str:
        """The number of its process."""
        running = self._supervisor.member(victim).running
        return f"pid {running.pid}" if running else "no process"

    def state(self, victim: Victim) -> State:
        """Whether it runs, is paused, or has ended."""
        running = self._supervisor.member(victim).running
        if running is None:
            return "exited"
        return "paused" if stopped(running.pid) else "running"

    def kill(self, victim: Victim) -> None:
        """SIGKILL; returns when it is gone."""
        if self._supervisor.member(victim).kill(signal.SIGKILL) is None:
            raise ClusterError(f"{victim} is down already")

    def terminate(self, victim: Victim) -> None:
        """A graceful stop; returns when it is gone."""
        member = self._supervisor.member(victim)
        running = member.running
        if running is None:
            raise ClusterError(f"{victim} is down already")
        running.send(member.service.stop_signal)
        try:
            running.wait(3 * GONE)
        except NotReadyError as error:
            raise ClusterError(f"{victim} does not stop: {error}") from error

    def pause(self, victim: Victim) -> None:
        """SIGSTOP to it and its children; returns when they have stopped."""
        pid = self._pid(victim)
        family = [pid, *descendants(pid)]
        for each in family:
            send(each, signal.SIGSTOP)
        self._await(lambda: None if all(map(stopped, family)) else f"{victim} is not stopped", GONE)

    def resume(self, victim: Victim) -> None:
        """SIGCONT to it and its children."""
        pid = self._pid(victim)
        for each in (pid, *descendants(pid)):
            send(each, signal.SIGCONT)

    def cut(self, *links: str) -> None:
        """Breaks these links."""
        self._proxies.cut(*links)

    def disturb(self, link: str, toxic: Mapping[str, Any]) -> None:
        """Adds a toxic to the link."""
        self._proxies.disturb(link, toxic)

    def restore(self, *links: str) -> None:
        """Lets these links work again."""
        self._proxies.restore(*links)

    def connect(self, link: str) -> socket.socket:
        """A new connection over the link."""
        return self._proxies.connect(link)

    def wait_ready(self, *victims: Victim, timeout: float = 60) -> None:
        """Waits until these, or all, answer."""
        names = victims or [member.service.name for member in self._supervisor.members()]
        deadline = time.monotonic() + timeout
        for name in names:
            member = self._supervisor.member(name)
            self._await(member.service.unready, max(0.1, deadline - time.monotonic()))

    def replace_app(self, source: Path | None, env: Mapping[str, str]) -> None:
        """Runs another copy of the application's source from now on."""
        self._supervisor.remove("app")
        self._source, self._app_env = source or self._target.folder, env
        self._supervisor.add(self._app())
        self.wait_ready("app")

    def logs(self, victim: Victim) -> str:
        """The end of what it printed."""
        return last_lines(self._supervisor.member(victim).log_file)

    def command(self, argv: Sequence[str]) -> str:
        """What a command prints, run in the application's environment and folder."""
        done = subprocess.run(
            fill(list(argv), self._layout.placeholders),
            cwd=self._source,
            env={**services.environment(self._layout.settings), **self._environment()},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(argv)}: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()

    def _start(self, timeout: float) -> None:
        self._layout = layout = Layout(self._options, self._binaries)
        self.app, self.sidecar = layout.app, layout.sidecar
        self.witness, self.gate = layout.witness, layout.gate
        self._supervisor = Supervisor(self._run_dir, self._logs)
        proxy = layout.toxiproxy()
        self._supervisor.start(proxy)
        self._await(proxy.unready, 10)
        self._links = Links(layout.links_api)
        for name, port in layout.upstreams().items():
            through = layout.through[name]
            listen, upstream = f"{LOOPBACK}:{through}", f"{LOOPBACK}:{port}"
            self._links.make(name, listen, upstream, (LOOPBACK, through))
        self._supervisor.add(*layout.base())
        self._await_first(timeout)
        self._supervisor.add(self._app())
        self._await_first(timeout)
        # The suite itself never goes over a link that it may cut.
        self.values = {**layout.placeholders, "witness": self.witness, **self._own_values()}

    @property
    def _proxies(self) -> Links:
        if self._links is None:
            raise ClusterError("the cluster is not running")
        return self._links

    def _environment(self) -> dict[str, str]:
        return environment(
            self._target, self._options.stores.database, self._app_env, self._layout.placeholders
        )

    def _app(self) -> Service:
        command = tuple(fill(list(self._target.app.command), self._layout.placeholders))
        env = {**services.environment(self._layout.settings), **self._environment()}
        port = self._layout.settings.port
        common: dict[str, Any] = {"env": env, "ports": {"port": port}, "cwd": self._source}
        return Watched(
            "app",
            command,
            ready=(),
            ready_port=port,
            probe=self._unready_app,
            **common,
        )

    def _unready_app(self) -> str | None:
        return unready_worker(
            self.app, self._target.app.ready, self.sidecar, self._layout.secrets.dapr_api_token
        )

    def _own_values(self) -> dict[str, str]:
        return {
            name: self.command(value.command) if isinstance(value, Value) else value
            for name, value in self._target.values.items()
        }

    def _pid(self, victim: Victim) -> int:
        running = self._supervisor.member(victim).running
        if running is None:
            raise ClusterError(f"{victim} is down")
        return running.pid

    def _await_first(self, timeout: float) -> None:
        try:
            self._supervisor.await_first_start(timeout)
        except NotReadyError as error:
            members = self._supervisor.members()
            if any(member.ends >= HOPELESS for member in members):
                raise  # It shows what was printed.
            late = [last_lines(each.log_file) for each in members if each.service.unready()]
            raise ClusterError("; ".join([str(error), *late])) from error

    def _await(self, unmet: Callable[[], str | None], timeout: float) -> None:
        def still_unmet() -> str | None:
            # Some other thread may wait for what will not come any more.
            if self._ended.is_set():
                raise ClusterError("the cluster is not running")
            return unmet()

        try:
            wait_until(still_unmet, timeout)
        except NotReadyError as error:
            raise ClusterError(str(error)) from error
