"""A Docker daemon: the one that runs, or Debian's, installed and started here.

`python -m images.daemon` does it from a shell. The daemon that it starts listens on its Unix socket
only, and stays for the next run.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys

import docker

from conformance.clusters.docker import HOW, find
from images import ImageError
from images.debian import install
from images.shell import PATH, only_one
from launcher.errors import NotReadyError
from launcher.files import last_lines
from launcher.net import wait_until
from launcher.runtime import BUILT

log = logging.getLogger(__name__)

DEADLINE = 60.0  # seconds for a daemon to answer
LOG = BUILT / "dockerd.log"


def ensure_running() -> docker.DockerClient:
    """A client of a daemon that answers; installs and starts Debian's where that is possible.

    Raises:
        ImageError: there is none and it cannot be had; says how.
    """
    if (client := find()) is not None:
        return client
    if os.environ.get("DOCKER_HOST"):
        raise ImageError(
            f"no Docker daemon answers at DOCKER_HOST={os.environ['DOCKER_HOST']}: start it"
        )
    if os.geteuid() != 0 or sys.platform != "linux":
        raise ImageError(HOW)
    with only_one("docker"):
        if (client := find()) is None:
            client = _start(_installed())
    return client


def _installed() -> str:
    if shutil.which("dockerd", path=PATH) is None:
        install("docker.io", "iptables")
    if (found := shutil.which("dockerd", path=PATH)) is None:
        raise ImageError(HOW)
    return found


def _start(daemon: str) -> docker.DockerClient:
    log.info("starting %s", daemon)
    with LOG.open("ab") as output:
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
            raise ImageError(f"{daemon} has ended; {last_lines(LOG)}")
        return None if find() else f"{daemon} does not answer"

    try:
        wait_until(unmet, DEADLINE)
    except NotReadyError as error:
        raise ImageError(f"{error}; {last_lines(LOG)}") from error
    if (client := find()) is None:
        raise ImageError(HOW)
    return client


def main() -> int:
    """Exit status: 0 a daemon answers, 1 there is none, said on one line."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        client = ensure_running()
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Docker {client.version()['Version']} answers at {client.api.base_url}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
