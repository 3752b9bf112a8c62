"""Containers in a network of their own, and the supervisor that production has.

Docker's restart policies take a kill for a stop by hand, so what exits is started again from here.
Addresses are fixed: a container that is started again is where it was. Everything carries a label
that names the process it belongs to, by which the next run finds what a killed one has left.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, NotFound
from docker.types import EndpointConfig
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from conformance.clusters import ClusterError, State
from conformance.clusters.leftovers import OWNER, obeyed, ourselves, remove
from conformance.clusters.network import make_network
from launcher.net import LOOPBACK

log = logging.getLogger(__name__)

# Its reaper is an image that would have to be pulled; `sweep` does without.
testcontainers_config.ryuk_disabled = True

FLEET = "conformance.fleet"
PART = "conformance.part"
DATA = "/data"  # as the application sees the folder for what it keeps
GONE = 15.0  # seconds for a killed container to be gone
STOPPED = 40.0  # seconds for a graceful stop
SETTLED = 3.0  # seconds after which an end is no longer a quick one
LONGEST_DELAY = 5.0  # seconds between two starts of what keeps ending


@dataclass(frozen=True)
class Part:
    """What one container is. `ports` are published on loopback: inside, and here.

    `mounts` are folders and where they are seen; they cannot be written to. `data` is one that can,
    seen as `/data`. Whatever else it writes is gone when the part is removed, and not before.
    """

    name: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[int, int] = field(default_factory=dict)
    folder: str | None = None
    user: str | None = f"{os.getuid()}:{os.getgid()}"
    stop_signal: str = "SIGTERM"
    init: bool = False
    entrypoint: str | None = None
    data: Path | None = None


class Fleet:
    """Containers by the name of their part; any thread may call it."""

    def __init__(self, client: docker.DockerClient, parts: Sequence[str]) -> None:
        self._client = client
        self._token = secrets.token_hex(4)
        self._labels = {OWNER: ourselves(), FLEET: self._token}
        self._parts: dict[str, Part] = {}
        self._containers: dict[str, Any] = {}
        self._held: set[str] = set()
        self._ends: Counter[str] = Counter()
        self._quick: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self._changed = threading.Condition()
        # Docker counts the containers of a network, and counts wrong when they come and go at the
        # same moment; the network could not be removed then.
        self._attaching = threading.Lock()
        self._closing = threading.Event()
        self._events: Any = None
        self._watcher = threading.Thread(target=self._watch, name="containers", daemon=True)
        self._starters = ThreadPoolExecutor(8, "starter")
        try:
            self._network, hosts = make_network(client, f"conformance-{self._token}", self._labels)
        except BaseException:
            self.close()
            raise
        self.addresses = dict(zip(parts, hosts, strict=False))
        """Of every part, also of one that is down."""

    def supervise(self) -> None:
        """From now on what exits is started again."""
        filters = {"event": "die", "label": f"{FLEET}={self._token}"}
        self._events = self._client.events(decode=True, filters=filters)
        self._watcher.start()

    def start(self, *parts: Part) -> None:
        """Starts these in this order; returns when all have been started, ready or not.

        Raises:
            ClusterError: Docker refuses.
        """
        for part in parts:
            self._start(part)

    def remove(self, name: str) -> None:
        """Ends a part and forgets it; its `data` stays."""
        with self._changed:
            self._held.add(name)
            container = self._containers.pop(name, None)
        if container is not None:
            with self._attaching:
                remove(container)

    def close(self) -> None:
        """Removes everything."""
        self._closing.set()
        # By label, and not as far as we know: one that could not be started, or was just being made
        # when we were interrupted, was made all the same.
        while made := self._made(self._client.containers, all=True, ignore_removed=True):
            list(self._starters.map(remove, made))
        self._starters.shutdown()
        if self._events is not None:
            self._events.close()
            self._watcher.join(GONE)
        for network in self._made(self._client.networks):
            remove(network)

    def _made(self, kind: Any, **options: Any) -> list[Any]:
        filters = {"label": f"{FLEET}={self._token}"}
        made: list[Any] = obeyed(kind.list, filters=filters, **options)
        return made

    def kill(self, name: str) -> None:
        """SIGKILL; returns when it is gone.

        Raises:
            ClusterError: it is down already, or does not go.
        """
        self._end(name, "SIGKILL", GONE)

    def terminate(self, name: str) -> None:
        """Asks it to stop; returns when it is gone.

        Raises:
            ClusterError: it is down already, or does not go.
        """
        self._end(name, self._parts[name].stop_signal, STOPPED)

    def pause(self, name: str) -> None:
        """Freezes it; returns when it is frozen."""
        obeyed(self._container(name).pause)

    def resume(self, name: str) -> None:
        """Lets it go on."""
        obeyed(self._container(name).unpause)

    def identity(self, name: str) -> str:
        """The run of its process: another one after every start."""
        state = self._look(name)
        return f"container {self._container(name).short_id} pid {state['Pid']} {state['StartedAt']}"

    def state(self, name: str) -> State:
        """Whether it runs, is paused, or has ended."""
        state = self._look(name)
        if state["Paused"]:
            return "paused"
        return "running" if state["Running"] else "exited"

    def ends(self, name: str) -> int:
        """How often it has ended so far."""
        with self._changed:
            return self._ends[name]

    def logs(self, name: str, lines: int = 15) -> str:
        """The end of what it printed, headed by its name."""
        printed: bytes = obeyed(self._container(name).logs, tail=lines)
        return f"the end of what {name} printed:\n{printed.decode(errors='replace')}".rstrip()

    def execute(self, name: str, command: list[str]) -> str:
        """What a command prints, run in the container.

        Raises:
            ClusterError: it failed.
        """
        done = obeyed(self._container(name).exec_run, command, demux=True)
        out, err = (part.decode(errors="replace") if part else "" for part in done.output)
        if done.exit_code != 0:
            raise ClusterError(f"{' '.join(command)}: {(err or out).strip()[-500:]}")
        printed: str = out.strip()
        return printed

    def _start(self, part: Part) -> None:
        address = self.addresses[part.name]
        container = DockerContainer(
            part.image,
            env=dict(part.env),
            command=list(part.command),
            name=f"conformance-{self._token}-{part.name}",
        )
        for inside, here in part.ports.items():
            container.ports[f"{inside}/tcp"] = (LOOPBACK, here)
        for source, seen in part.mounts.items():
            container.with_volume_mapping(source, seen, "ro")
        if part.data is not None:
            container.with_volume_mapping(str(part.data), DATA, "rw")
        endpoint = EndpointConfig("1.41", ipv4_address=address)
        container.with_kwargs(
            labels={**self._labels, PART: part.name},
            hostname=part.name,
            # Names are known without a resolver, also of those that are down.
            extra_hosts=self.addresses,
            network=self._network.name,
            networking_config={self._network.name: endpoint},
            user=part.user,
            working_dir=part.folder,
            init=part.init,
            entrypoint=part.entrypoint,
        )
        with self._changed:
            self._held.discard(part.name)
            self._parts[part.name] = part
        try:
            with self._attaching:
                obeyed(container.start)
            number = container.get_container_id()
        finally:
            container.get_docker_client().client.close()
        with self._changed:
            self._began[part.name] = time.monotonic()
            self._containers[part.name] = obeyed(self._client.containers.get, number)
            self._changed.notify_all()

    def _end(self, name: str, signal: str, timeout: float) -> None:
        before = self.ends(name)
        self._began[name] = 0.0  # It does not end by itself: that is no quick end.
        with self._attaching:
            obeyed(self._container(name).kill, signal=signal)
        with self._changed:
            gone = self._changed.wait_for(lambda: self._ends[name] > before, timeout)
        if not gone:
            raise ClusterError(f"{name} is still there {timeout:g} s after {signal}")

    def _container(self, name: str) -> Any:
        with self._changed:
            if name not in self._containers:
                raise ClusterError(f"there is no {name}; there are {', '.join(self._containers)}")
            return self._containers[name]

    def _look(self, name: str) -> Any:
        return obeyed(self._client.api.inspect_container, self._container(name).id)["State"]

    def _watch(self) -> None:
        try:
            for event in self._events:
                self._ended(event["Actor"]["Attributes"][PART])
        except (DockerException, OSError, ValueError):
            if not self._closing.is_set():
                log.exception("the supervision has ended: Docker does not tell any more")

    def _ended(self, name: str) -> None:
        with self._changed:
            self._ends[name] += 1
            self._changed.notify_all()
        if self._wanted(name):
            self._starters.submit(self._start_again, name)

    def _start_again(self, name: str) -> None:
        with self._changed:
            # One that ended at once may not have been written down yet.
            self._changed.wait_for(lambda: name in self._containers, GONE)
            quick = time.monotonic() - self._began.get(name, 0.0) < SETTLED
            self._quick[name] = self._quick[name] + 1 if quick else 0
        if self._quick[name] > 1:
            self._closing.wait(min(LONGEST_DELAY, 0.2 * 2 ** self._quick[name]))
        try:
            if self._wanted(name):
                log.info("%s has ended and is started again", name)
                with self._attaching:
                    obeyed(self._container(name).start)
                self._began[name] = time.monotonic()
        except (ClusterError, NotFound) as error:
            if self._wanted(name):
                log.error("%s is not started again: %s", name, error)

    def _wanted(self, name: str) -> bool:
        with self._changed:
            return name not in self._held and not self._closing.is_set()
