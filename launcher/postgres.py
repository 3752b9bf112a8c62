"""A real PostgreSQL server for tests: started here, killed here, without a container."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.errors import LauncherError, NotReadyError
from launcher.files import last_lines, write_private
from launcher.net import LOOPBACK, free_ports, obstacle, wait_until
from launcher.process import Process

HOW = "there is no PostgreSQL server here; as root on Debian: apt-get install postgresql"


def find_binaries() -> Path | None:
    """The newest folder with a server in it; Debian keeps it out of PATH."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = sorted(debian, key=lambda path: float(path.parent.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    for server in (*newest, *([Path(on_path)] if on_path else [])):
        folder = server.resolve().parent
        if (folder / "initdb").exists():
            return folder
    return None


class Postgres:
    """One server on loopback with its data in one folder; nothing else on the machine is touched.

    It runs with fsync, because what survives a kill is what its users test. As root it runs as
    an unprivileged user, which must be able to reach the folder: :func:`temporary` sees to that.
    """

    def __init__(self, folder: Path, port: int) -> None:
        """Prepare a server; nothing happens before :meth:`start`.

        Raises:
            LauncherError: when PostgreSQL is not installed.
        """
        binaries = find_binaries()
        if binaries is None:
            raise LauncherError(HOW)
        self.port = port
        self._binaries = binaries
        self.folder = folder.resolve()
        self._data = self.folder / "data"
        self._log = self.folder / "server.log"
        self.user = _unprivileged()
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The server's main process.

        Raises:
            LauncherError: when it was not started.
        """
        if self._process is None:
            raise LauncherError("PostgreSQL is not running")
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """Where a client connects to, with the password."""
        return f"postgresql://postgres:{self._password()}@{LOOPBACK}:{self.port}/{database}"

    def start(self, timeout: float = 30) -> None:
        """Start it, on the data that is there or on new data; return when it takes connections.

        Raises:
            NotReadyError: after so many seconds; shows the end of its log.
            LauncherError: when another process has the port.
        """
        if why := obstacle(self.port):
            raise LauncherError(
                f"PostgreSQL cannot listen on port {self.port}: {why}; stop what uses it, "
                "or choose another port"
            )
        self.create(timeout)
        command = self.command()

        def unmet() -> str | None:
            # After a kill, its children may hold the shared memory a moment longer: once more.
            if self._process is None or self._process.exit_status() is not None:
                self._process = self._spawn(command)
            return self.unready()

        try:
            wait_until(unmet, timeout)
        except NotReadyError as error:
            self.kill()
            raise NotReadyError(f"{error}; {last_lines(self._log)}") from None

    def create(self, timeout: float = 30) -> None:
        """Make new data, unless there is some; the server need not run.

        Raises:
            LauncherError: PostgreSQL refused.
        """
        if not (self._data / "PG_VERSION").exists():
            self._create(timeout)

    def command(self) -> list[str]:
        """What runs the server, for :attr:`user` in :attr:`folder`."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "on",
        }
        command = [str(self._binaries / "postgres"), "-D", str(self._data)]
        return command + [f"--{name}={value}" for name, value in settings.items()]

    def unready(self) -> str | None:
        """Why it cannot be used yet; None when it takes connections."""
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", LOOPBACK, f"-p{self.port}"]
        answer = subprocess.run(ready, check=False, timeout=10).returncode
        return "PostgreSQL does not take connections" if answer else None

    def stop(self) -> None:
        """A fast shutdown: clients are cut off, data is written; by force after 10 s."""
        if self._process is not None:
            self._process.stop(10)
            self._process = None

    def kill(self) -> None:
        """The power fails, as far as PostgreSQL can tell; return when it is gone."""
        if self._process is not None:
            self._process.send(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def discard(self) -> None:
        """An immediate shutdown, for data that is thrown away: nothing more is written."""
        if self._process is not None:
            self._process.send(signal.SIGQUIT)
            self._process.stop(10)
            self._process = None

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database, as a copy of another, and return its address.

        Raises:
            LauncherError: for instance when it exists.
        """
        where = ["-h", LOOPBACK, "-p", str(self.port), "-U", "postgres"]
        self._run(
            [self._binaries / "createdb", *where, "-T", template, name],
            30,
            PGPASSWORD=self._password(),
        )
        return self.url(name)

    def _create(self, timeout: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        password = self.folder / "password"
        if not password.exists():
            write_private(password, secrets.token_urlsafe(24))
        for path in (self.folder, password):
            os.chown(path, *self.user)
        initdb: list[str | Path] = [self._binaries / "initdb", "-D", self._data, "-U", "postgres"]
        initdb += ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--no-locale"]
        self._run(initdb, timeout)

    def _run(self, command: list[str | Path], timeout: float, **env: str) -> None:
        uid, gid = self.user
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            user=uid if uid != -1 else None,
            group=gid if gid != -1 else None,
            extra_groups=[] if gid != -1 else None,
        )
        if done.returncode != 0:
            name = Path(command[0]).name
            raise LauncherError(f"{name} failed in {self.folder}: {done.stderr.strip()}")

    def _spawn(self, command: list[str]) -> Process:
        return Process.start(
            command,
            cwd=self.folder,
            env=os.environ,
            log=self._log,
            stop_signal=signal.SIGINT,
            user=self.user,
        )

    def _password(self) -> str:
        return (self.folder / "password").read_text()


@contextmanager
def temporary(port: int | None = None) -> Iterator[Postgres]:
    """A running server on a free port, in a folder that its user can reach, both gone at the end.

    Raises:
        LauncherError: when PostgreSQL is not installed, or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="steadfast-postgres-") as name:
        server = Postgres(Path(name) / "server", port or free_ports(1)[0])
        Path(name).chmod(0o711)  # Its user must be able to pass through, and only that.
        server.start()
        try:
            yield server
        finally:
            server.discard()


def _unprivileged() -> tuple[int, int]:
    """The user to run as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return -1, -1
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise LauncherError(
        "PostgreSQL does not run as root, and there is no user postgres or nobody to run it as: "
        "add one, or start this as another user"
    )
