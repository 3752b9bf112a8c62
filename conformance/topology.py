"""The processes around an application, and the links between them: one table for all clusters.

What is started, asked whether it is ready, hurt and named in reports is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

Victim = str
"""The name of a process that a fault may happen to."""


@dataclass(frozen=True)
class Process:
    """One process. `name` is what scenarios call it, `words` what people do.

    Whoever goes to it goes to `port`; where it stands alone, as in a container, it has that one. A
    server of a store has that of its kind. It is ready when a GET of `ready` answers 2xx, at
    `ready_port` where that is another one. One without `ready` is asked in its own way.
    """

    name: str
    words: str
    port: int = 0
    ready: str | None = None
    ready_port: int | None = None
    victim: bool = True


@dataclass(frozen=True)
class Link:
    """The connections that one process opens to another, through a proxy that can cut them.

    `port` is where the proxy is entered, where it stands alone.
    """

    client: str
    server: str
    port: int

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"{self.client}-{self.server}"


PROCESSES = (
    Process("app", "the application", 8000),
    Process("daprd", "its sidecar", 3500, ready="/v1.0/healthz/outbound"),
    Process("scheduler", "Dapr's scheduler", 50006, ready="/healthz", ready_port=8080),
    Process("placement", "Dapr's placement service", 50005, ready="/healthz", ready_port=8080),
    Process("store", "the server of Dapr's state"),
    Process("database", "the server of the application's database, where it has one of its own"),
    Process("witness", "the witness", 8100, ready="/livez", victim=False),
    Process("gates", "the sidecar gate", 50001, ready="/livez", ready_port=8200, victim=False),
    Process("toxiproxy", "the links", 8474, ready="/version", victim=False),
)
"""In the order in which reports show them. An application may have another port."""
LINKS = (
    Link("app", "witness", 9001),
    Link("app", "database", 9002),
    Link("app", "daprd", 9003),
    Link("daprd", "store", 9004),
    Link("daprd", "scheduler", 9005),
    Link("daprd", "placement", 9006),
)
"""`app-daprd` is the sidecar's HTTP port: its gRPC streams are cut at the gate."""
PROCESS: Mapping[str, Process] = {each.name: each for each in PROCESSES}
VICTIMS: tuple[Victim, ...] = tuple(each.name for each in PROCESSES if each.victim)


@dataclass(frozen=True)
class Topology:
    """What of the table there is in one run."""

    processes: tuple[Process, ...]
    links: tuple[Link, ...]

    def __getitem__(self, name: str) -> Process:
        """The process of this name."""
        (found,) = (each for each in self.processes if each.name == name)
        return found

    @property
    def victims(self) -> tuple[Victim, ...]:
        """What a fault may happen to."""
        return tuple(each.name for each in self.processes if each.victim)

    def links_of(self, name: str) -> tuple[str, ...]:
        """The names of the links that end at a process."""
        return tuple(each.name for each in self.links if name in (each.client, each.server))


def present(*, gated: bool, servers: Mapping[str, int], shared: bool = False) -> Topology:
    """What there is with or without a gate, and with these servers of stores at these ports.

    Where the `store` is `shared`, it has the application's database as well.
    """
    there = {"gates": gated, "store": "store" in servers, "database": "database" in servers}
    processes = tuple(
        replace(each, port=servers.get(each.name, each.port))
        for each in PROCESSES
        if there.get(each.name, True)
    )
    links = tuple(
        replace(each, server="store") if shared and each.server == "database" else each
        for each in LINKS
    )
    return Topology(processes, tuple(each for each in links if there.get(each.server, True)))
