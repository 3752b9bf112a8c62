"""The images that containers are made from: public ones, unless others are named or stand in."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import docker
from docker.errors import APIError, BuildError, ImageNotFound

from conformance.clusters import ClusterError
from conformance.clusters.stores import kinds
from conformance.plan.contract import App
from launcher.runtime import TOOLS

log = logging.getLogger(__name__)

PUBLIC: Mapping[str, str] = {
    "dapr": f"daprio/dapr:{TOOLS['daprd'].version}",
    "toxiproxy": f"ghcr.io/shopify/toxiproxy:{TOOLS['toxiproxy'].version}",
    "python": f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim",
    **{name: store.server.image for name, store in kinds().items() if store.server},
}
"""By what they are for. A Python of any other image brings the packages of the suite with it."""
T = TypeVar("T")


def find(client: docker.DockerClient, name: str) -> str:
    """The image of this name in `PUBLIC`, or what takes its place; pulled if it is not here.

    The first of: what `CONFORMANCE_<NAME>_IMAGE` names, the one that is here as `stand_in(name)`,
    the public one.

    Raises:
        ClusterError: it cannot be pulled; says how to name another one.
    """
    variable = f"CONFORMANCE_{name.upper()}_IMAGE"
    named = os.environ.get(variable)
    if named is None and _is_here(client, stand_in(name)):
        return stand_in(name)
    wanted = named or PUBLIC[name]
    try:
        _pull(client, wanted)
    except ClusterError as error:
        raise ClusterError(f"{error}; name another one in {variable}") from error
    return wanted


def stand_in(name: str) -> str:
    """What an image of this name is called that was built here."""
    return f"conformance-{name}:local"


def of_target(client: docker.DockerClient, app: App, folder: Path) -> str | None:
    """The target's own image, built if it has a Dockerfile; `None` when it runs in the suite's.

    Raises:
        ClusterError: it cannot be had.
    """
    if app.image is not None:
        _pull(client, app.image)
        return app.image
    if app.dockerfile is None:
        return None
    log.info("building %s", folder / app.dockerfile)
    tag = f"conformance-target:{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    given = {"path": str(folder), "dockerfile": app.dockerfile, "tag": tag, "rm": True}
    _try(lambda: client.images.build(**given), str(folder / app.dockerfile))
    return tag


def _pull(client: docker.DockerClient, name: str) -> None:
    if not _is_here(client, name):
        log.info("pulling %s", name)
        _try(lambda: client.images.pull(name), name)


def _is_here(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _try(make: Callable[[], T], what: str) -> T:
    try:
        return make()
    except BuildError as error:
        said = "".join(line.get("stream", "") for line in error.build_log)[-1500:]
        raise ClusterError(f"building {what} failed: {error.msg}\n{said}") from error
    except APIError as error:
        raise ClusterError(f"{what}: {error.explanation or error}") from error
