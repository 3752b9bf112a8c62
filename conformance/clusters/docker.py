"""A Docker daemon: the one that runs, or one that is installed and started here.

`python -m conformance.clusters.docker` does it from a shell. The daemon that it starts listens on
its Unix socket only, and stays for the next run.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import docker
from docker.errors import DockerException

from conformance.clusters import ClusterError
from launcher import debian
from launcher.errors import LauncherError, NotReadyError
from launcher.files import last_lines
from launcher.net import wait_until
from launcher.runtime import BUILT

log = logging.getLogger(__name__)

HOW = "no Docker daemon answers here: start it, or name one in DOCKER_HOST"
DAEMON_DEADLINE = 60.0
CALL_DEADLINE = 120
DAEMON_LOG = BUILT / "dockerd.log"
# Debian keeps daemons and iptables where only root's own PATH looks for them.
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def ensure_running() -> docker.DockerClient:
    """A client of a daemon that answers; installs and starts Debian's where that is possible.

    Raises:
        ClusterError: there is none and it cannot be had; says how.
    """
    if (client := find()) is not None:
        return client
    if os.environ.get("DOCKER_HOST"):
        raise ClusterError(f"nobody answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
    if os.geteuid() != 0 or sys.platform != "linux":
        raise ClusterError(HOW)
    with only_one("docker"):
        if (client := find()) is None:
            client = _start(_daemon())
    return client


def find() -> docker.DockerClient | None:
    """A client of the daemon that DOCKER_HOST or the default socket leads to, if it answers."""
    try:
        # Whatever the daemon speaks: a client newer than it would be refused otherwise.
        client = docker.from_env(version="auto", timeout=CALL_DEADLINE)
        client.ping()
    except DockerException:
        return None
    return client


def install(*packages: str) -> None:
    """Installs Debian's packages.

    Raises:
        ClusterError: this is not Debian, we are not root, or apt-get refuses.
    """
    try:
        debian.install(*packages)
    except LauncherError as error:
        raise ClusterError(str(error)) from error


def run(command: Sequence[str], timeout: float, **options: object) -> str:
    """What a command prints.

    Raises:
        ClusterError: it failed, or took more than `timeout` seconds.
    """
    try:
        done = subprocess.run(  # type: ignore[call-overload]
            command, timeout=timeout, capture_output=True, text=True, **options
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{' '.join(command[:3])}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise ClusterError(f"{' '.join(command[:3])} failed: {said}")
    printed: str = done.stdout
    return printed


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Waits for whoever else does this on the same checkout."""
    BUILT.mkdir(exist_ok=True)
    with (BUILT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _daemon() -> str:
    if shutil.which("dockerd", path=PATH) is None:
        install("docker.io", "iptables")
    if (found := shutil.which("dockerd", path=PATH)) is None:
        raise ClusterError(HOW)
    return found


def _start(daemon: str) -> docker.DockerClient:
    log.info("starting %s", daemon)
    with DAEMON_LOG.open("ab") as output:
        # In a session of its own: no Ctrl-C of ours reaches it, and it outlives us.
        started = subprocess.Popen(
            [daemon, "--host", "unix:///var/run/docker.sock"],
            env={**os.environ, "PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def unmet() -> str | None:
        if started.poll() is not None:
            raise ClusterError(f"{daemon} has ended; {last_lines(DAEMON_LOG)}")
        return None if find() else f"{daemon} does not answer"

    try:
        wait_until(unmet, DAEMON_DEADLINE)
    except NotReadyError as error:
        raise ClusterError(f"{error}; {last_lines(DAEMON_LOG)}") from error
    if (client := find()) is None:
        raise ClusterError(HOW)
    return client


def main() -> int:
    """Exit status: 0 a daemon answers, 1 there is none, said on one line."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        client = ensure_running()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Docker {client.version()['Version']} answers at {client.api.base_url}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
