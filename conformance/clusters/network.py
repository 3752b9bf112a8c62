"""A network in which a container keeps its address when it is started again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_network
from itertools import islice
from typing import Any

import docker
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from conformance.clusters import ClusterError
from conformance.clusters.leftovers import obeyed

TRIES = 10
HOSTS = 32


def make_network(
    client: docker.DockerClient, name: str, labels: Mapping[str, str]
) -> tuple[Any, list[str]]:
    """The network, and addresses that its containers may be given.

    Raises:
        ClusterError: Docker has none left, or refuses.
    """
    for _ in range(TRIES):
        # Docker knows which addresses are free, but fixes only those of a range that was named.
        free = obeyed(client.networks.create, f"{name}-free", labels=labels)
        free.reload()
        subnet = free.attrs["IPAM"]["Config"][0]["Subnet"]
        free.remove()
        pool = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
        with suppress(APIError):  # The range was taken meanwhile: another one.
            made = client.networks.create(name, ipam=pool, labels=labels)
            # The first address is the host's.
            return made, [str(host) for host in islice(ip_network(subnet).hosts(), 1, HOSTS)]
    raise ClusterError(f"Docker gave no network in {TRIES} tries")
