"""The Docker daemon that containers run on: where DOCKER_HOST or the default socket leads to."""

from __future__ import annotations

import docker
from docker.errors import DockerException

from conformance.clusters import ClusterError

HOW = "no Docker daemon answers here: start it, or name one in DOCKER_HOST"
CALL_DEADLINE = 120  # seconds


def connect() -> docker.DockerClient:
    """A client of the daemon.

    Raises:
        ClusterError: none answers; says what to do.
    """
    if (client := find()) is None:
        raise ClusterError(HOW)
    return client


def find() -> docker.DockerClient | None:
    """A client of the daemon, if it answers."""
    try:
        # Whatever the daemon speaks: a client newer than it would be refused otherwise.
        client = docker.from_env(version="auto", timeout=CALL_DEADLINE)
        client.ping()
    except DockerException:
        return None
    return client
