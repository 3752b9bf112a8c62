"""Whose a container, a volume or a network is: a label names the process, by number and start."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from conformance.clusters import ClusterError
from launcher.errors import NotReadyError
from launcher.net import wait_until

log = logging.getLogger(__name__)

OWNER = "conformance.owner"
GONE = 2.0  # seconds


def ourselves() -> str:
    """The value of the label of what this process makes."""
    return f"{os.getpid()}:{_started(os.getpid())}"


def sweep(client: docker.DockerClient) -> list[str]:
    """Removes what belongs to processes that are gone, and returns the names of what is gone now.

    Raises:
        ClusterError: Docker refuses.
    """
    found = [
        *client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True),
        *client.networks.list(filters={"label": OWNER}),
        *client.volumes.list(filters={"label": OWNER}),
    ]
    left = [each for each in found if not _is_there(_labels(each)[OWNER])]
    gone = [each.name for each in left if remove(each)]
    if gone:
        log.warning("left by a run that was killed, now removed: %s", ", ".join(gone))
    return gone


def remove(resource: Any) -> bool:
    """Removes a container, a network or a volume, which may be gone already; whether it is gone.

    A network without containers that Docker refuses to remove is left to the next `sweep`: Docker
    counts wrong when containers come and go at the same moment, and knows better only when it is
    started again.

    Raises:
        ClusterError: Docker refuses.
    """
    try:
        if hasattr(resource, "connect"):
            # It knows of a container for a moment after that was removed.
            wait_until(lambda: _refusal(resource), GONE)
        elif (refusal := _refusal(resource)) is not None:
            raise ClusterError(refusal)
    except NotReadyError as error:
        log.warning("the network %s stays: %s", resource.name, error)
        return False
    return True


def _refusal(resource: Any) -> str | None:
    options: dict[str, Any] = {"force": True, "v": True} if hasattr(resource, "kill") else {}
    try:
        obeyed(resource.remove, **options)
    except NotFound:
        return None
    except ClusterError as error:
        return str(error)
    return None


def obeyed(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a call of Docker returns.

    Raises:
        NotFound: there is no such thing.
        ClusterError: Docker refuses, or does not answer.
    """
    try:
        return call(*arguments, **options)
    except NotFound:
        raise
    except APIError as error:
        raise ClusterError(f"Docker: {error.explanation or error}") from error
    except (DockerException, OSError) as error:
        raise ClusterError(f"Docker: {error}") from error


def _labels(resource: Any) -> Mapping[str, str]:
    attrs = resource.attrs
    labels: Mapping[str, str] = attrs.get("Config", attrs)["Labels"]
    return labels


def _is_there(owner: str) -> bool:
    pid, _, started = owner.partition(":")
    return pid.isdigit() and _started(int(pid)) == started


def _started(pid: int) -> str | None:
    """When a process was started, in ticks since the machine was; `None` when it is gone."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else fields[18]
