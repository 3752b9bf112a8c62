"""Where a target runs: the same interface over plain processes and over containers.

A cluster plays the supervisor that production has: what *exited* is started again, what is merely
stopped is left alone.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from conformance.clusters.stores import Server, kinds
from conformance.errors import ConformanceError
from conformance.plan.contract import Target
from conformance.topology import Topology, Victim, present

__all__ = ["Cluster", "ClusterError", "Options", "State", "Stores"]

State = Literal["running", "paused", "exited"]


@dataclass(frozen=True)
class Stores:
    """Which kind of store the application's database is, and which one Dapr's state."""

    database: str
    state: str

    @classmethod
    def both(cls, kind: str) -> Stores:
        """One kind for both; one server, if it is a server."""
        return cls(kind, kind)

    def __str__(self) -> str:
        return self.state if self.shared else f"{self.database}, {self.state} under Dapr"

    @property
    def shared(self) -> bool:
        """Whether one server, if it is a server, is both."""
        return self.database == self.state

    @property
    def of_application(self) -> str:
        """The name of the process that has the application's database, if there is one."""
        return "store" if self.shared else "database"

    @property
    def flags(self) -> str:
        """The part of a command line that repeats this choice."""
        if self.shared:
            return f"--store {self.state}"
        return f"--database {self.database} --state-store {self.state}"

    @property
    def servers(self) -> Mapping[str, Server]:
        """The servers among them, by the name of their process."""
        chosen = {"store": self.state, self.of_application: self.database}
        found = {name: kinds()[kind].server for name, kind in chosen.items()}
        return {name: server for name, server in found.items() if server is not None}

    def kind(self, process: str) -> str:
        """Which kind of store such a process is."""
        return self.state if process == "store" else self.database


@dataclass(frozen=True)
class Options:
    """How a cluster is made. `source` replaces the target's own folder: a mutated copy of it.

    Without `gated` the application speaks to its sidecar directly. `work` is a folder of this run.
    """

    target: Target
    work: Path
    stores: Stores = Stores("postgres", "postgres")
    gated: bool = True
    source: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def topology(self) -> Topology:
        """The processes and links of such a cluster."""
        ports = {name: server.port for name, server in self.stores.servers.items()}
        return present(gated=self.gated, servers=ports, shared=self.stores.shared)


class ClusterError(ConformanceError):
    """A cluster that could not be had or does not obey; the message says what is missing."""


class Cluster(Protocol):
    """A running target with everything around it. Calls block, and each has a deadline.

    `gate` is the control of the sidecar gate, `witness` the witness's own address; `app` and
    `sidecar` are addresses at which the suite reaches them, `values` what requests may name.
    """

    name: str
    app: str
    sidecar: str
    witness: str
    gate: str
    values: Mapping[str, str]
    topology: Topology

    def start(self, timeout: float = 120) -> None:
        """Starts everything; returns when the worker is connected.

        Raises:
            ClusterError: it did not come up in time; says what did not.
        """

    def stop(self) -> None:
        """Ends everything and removes what was made."""

    def identity(self, victim: Victim) -> str:
        """Which run of the process this is; another one after every start."""

    def state(self, victim: Victim) -> State:
        """Whether it runs, is paused, or has ended."""

    def kill(self, victim: Victim) -> None:
        """SIGKILL; returns when it is gone. It is started again at once."""

    def terminate(self, victim: Victim) -> None:
        """A graceful stop; returns when it is gone. It is started again at once."""

    def pause(self, victim: Victim) -> None:
        """Freezes it; returns when it is frozen."""

    def resume(self, victim: Victim) -> None:
        """Lets it go on."""

    def cut(self, *links: str) -> None:
        """Breaks the connections of the links of these names and refuses new ones."""

    def disturb(self, link: str, toxic: Mapping[str, Any]) -> None:
        """Adds a toxic to a link, as Toxiproxy describes them."""

    def restore(self, *links: str) -> None:
        """Lets these links work again."""

    def connect(self, link: str) -> socket.socket:
        """A new connection over a link, with a timeout of some seconds: what a process would meet.

        Raises:
            OSError: it is refused, or does not come about.
        """

    def wait_ready(self, *victims: Victim, timeout: float = 60) -> None:
        """Waits until these (or all) answer again.

        Raises:
            ClusterError: they did not.
        """

    def replace_app(self, source: Path | None, env: Mapping[str, str]) -> None:
        """Runs another copy of the application's source on the same data, from now on."""

    def logs(self, victim: Victim) -> str:
        """The end of what it printed."""

    def command(self, argv: Sequence[str]) -> str:
        """What a command prints, run in the application's environment and folder."""
