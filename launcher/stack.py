"""The whole stack: starts it, keeps it up, and gives tests control of every process."""

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from launcher import services
from launcher.errors import LauncherError, NotReadyError
from launcher.net import LOOPBACK, free_ports, require_free, wait_until
from launcher.rundir import RunDir
from launcher.runtime import CORE, find_or_build
from launcher.services import Service, SidecarPorts
from launcher.settings import ROOT, Secrets, Settings
from launcher.supervisor import Supervisor

PROVIDERS = ROOT / "activities" / "providers.toml"  # of this application


@dataclass(frozen=True)
class Replica:
    """One more application with a sidecar of its own; both names work with the stack's methods."""

    stack: "Stack"
    name: str
    sidecar: str
    url: str
    dapr_http: str

    def stop(self) -> None:
        """Stop it gracefully and forget it."""
        self.stack.supervisor.remove(self.name)
        self.stack.supervisor.remove(self.sidecar)


class Stack:
    """Placement, scheduler, sidecar, witness and application, supervised by a thread.

    Every process listens on loopback, runs in a session of its own, and ends when this one does.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        app_command: Sequence[str] | None = None,
        app_env: Mapping[str, str] | None = None,
        downstream_command: Sequence[str] | None = None,
    ) -> None:
        """Prepare a stack; :meth:`start` or ``with`` starts it.

        Args:
            settings: ports, store, run directory.
            app_command: instead of ``python -m app``; found to be ready by /livez and /readyz.
            app_env: added to the application's environment.
            downstream_command: instead of ``python -m downstream``; gets the same flags.
        """
        self.settings = settings
        self.url = f"http://{services.reachable(settings.host)}:{settings.port}"
        self.downstream_url = f"http://{LOOPBACK}:{settings.downstream_port}"
        self.dapr_http = f"http://{LOOPBACK}:{settings.dapr_http_port}"
        self.log_dir = settings.run_dir / "logs"
        self._given = (app_command, app_env, downstream_command)
        self._run_dir = RunDir(settings.run_dir)
        self.supervisor = Supervisor(self._run_dir, self.log_dir)

    def start(self, timeout: float = 60) -> None:
        """Start everything; return when the application is ready to work.

        Raises:
            NotReadyError: after so many seconds, or as soon as something keeps ending.
            LauncherError: a port is in use, or this run directory is.
        """
        self._binaries = find_or_build(CORE, self.settings.dapr_bin)
        self._run_dir.acquire()
        self.supervisor = Supervisor(self._run_dir, self.log_dir)
        try:
            self._run_dir.end_leftovers()
            require_free(self.settings.ports(), self.settings.host)
            self.secrets = Secrets.of(self.settings.run_dir)
            self.settings.data_dir.mkdir(parents=True, exist_ok=True)
            self.supervisor.start(*self._services())
            self.supervisor.await_first_start(timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything in order, remove state.json, free the run directory."""
        try:
            self.supervisor.stop()
        finally:
            self._run_dir.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def app_environment(self) -> dict[str, str]:
        """The first application's environment, for a command beside it; after :meth:`start`."""
        return services.app_environment(
            self.settings, self.secrets, self.settings.port, self._sidecar
        )

    def pid(self, name: str) -> int:
        """The process that runs a service now.

        Raises:
            LauncherError: when it is down, or there is none of that name.
        """
        running = self.supervisor.member(name).running
        if running is None:
            raise LauncherError(f"{name} is down")
        return running.pid

    def log_file(self, name: str) -> Path:
        """Where a service's output goes, over all its runs."""
        return self.supervisor.member(name).log_file

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the real process and return its pid; it is gone if it was SIGKILL.

        The supervisor starts again what ends, and leaves alone what is paused (SIGSTOP).

        Raises:
            LauncherError: when it is down.
        """
        pid = self.supervisor.member(name).kill(number)
        if pid is None:
            raise LauncherError(f"{name} is down")
        return pid

    def hold(self, name: str) -> None:
        """From now on, when it ends, leave it down. It is not ended by this."""
        self.supervisor.hold(name, True)

    def unhold(self, name: str) -> None:
        """Supervise it again; if it is down, it is started before this returns."""
        self.supervisor.hold(name, False)

    def wait_ready(self, *names: str, timeout: float = 60) -> None:
        """Wait until these services, or all that are not held, answer.

        Raises:
            NotReadyError: after so many seconds; says which does not, and how.
        """
        chosen = [self.supervisor.member(name) for name in names]
        deadline = time.monotonic() + timeout
        for member in chosen or [m for m in self.supervisor.members() if not m.held]:
            wait_until(member.service.unready, max(0.0, deadline - time.monotonic()))

    def wait_restarted(self, name: str, old_pid: int, timeout: float = 30) -> int:
        """Wait until another process has taken over and answers; return its pid.

        Raises:
            NotReadyError: after so many seconds.
        """
        member = self.supervisor.member(name)

        def unmet() -> str | None:
            running = member.running
            if running is None:
                return f"{name} is down"
            if running.pid == old_pid:
                return f"{name} is still process {old_pid}"
            return member.service.unready()

        wait_until(unmet, timeout)
        return self.pid(name)

    def spawn_app(
        self,
        name: str = "app-2",
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        timeout: float = 60,
    ) -> Replica:
        """Start one more application beside the first, with a sidecar of its own.

        Args:
            name: ``app-`` and something; the sidecar is called ``daprd-`` and the same.
            port: a free one, unless given.
            env: added to its environment.
            command: instead of the stack's own.
            timeout: seconds for both to become ready.

        Raises:
            NotReadyError: after so many seconds; neither is left running.
        """
        kind, _, suffix = name.partition("-")
        if kind != "app" or not suffix:
            raise LauncherError(f"a replica's name is app-<something new>, not {name}")
        first, *rest = free_ports(5)
        ports, port, sidecar = SidecarPorts(*rest), port or first, f"daprd-{suffix}"
        app_command, app_env, _ = self._given
        added = (
            services.daprd(self.settings, self.secrets, self._binaries["daprd"], sidecar, ports),
            services.app(
                self.settings,
                self.secrets,
                name,
                port,
                ports,
                command or app_command,
                {**(app_env or {}), **(env or {})},
            ),
        )
        self.supervisor.add(*added)
        host = services.reachable(self.settings.host)
        url, dapr_http = f"http://{host}:{port}", f"http://{LOOPBACK}:{ports.http}"
        replica = Replica(self, name, sidecar, url, dapr_http)
        try:
            self.wait_ready(sidecar, name, timeout=timeout)
        except NotReadyError:
            replica.stop()
            raise
        return replica

    @property
    def _sidecar(self) -> SidecarPorts:
        return services.sidecar_ports(self.settings)

    def _services(self) -> tuple[Service, ...]:
        settings, secrets, binaries = self.settings, self.secrets, self._binaries
        app_command, app_env, downstream_command = self._given
        ports = self._sidecar
        return (
            services.placement(settings, binaries["placement"]),
            services.scheduler(settings, binaries["scheduler"]),
            services.daprd(settings, secrets, binaries["daprd"], "daprd", ports),
            services.downstream(settings, secrets, PROVIDERS, downstream_command),
            services.app(settings, secrets, "app", settings.port, ports, app_command, app_env),
        )
