"""A cluster of containers: the real thing, with networks, kills, pauses and partitions."""

from __future__ import annotations

import math
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from conformance.clusters import ClusterError, Options, State, images
from conformance.clusters.docker import connect
from conformance.clusters.fleet import DATA, Fleet, Part
from conformance.clusters.leftovers import sweep
from conformance.clusters.links import Links
from conformance.clusters.parts import GRPC, Plan
from conformance.clusters.ready import unready_worker
from conformance.clusters.stores import Server
from conformance.clusters.tree import fresh_folder
from conformance.plan.contract import Value
from conformance.plan.placeholders import environment, fill, make_secrets
from conformance.topology import PROCESS, Process, Victim
from launcher.errors import NotReadyError
from launcher.net import LOOPBACK, free_ports, status, wait_until

HOPELESS = 3  # ends after which a first start is given up
PUBLISHED = ("app", "daprd", "witness", "gates", "toxiproxy")


class Containers:
    """Implements `Cluster` on Docker."""

    name = "containers"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._target = options.target
        self._source = options.source or options.target.folder
        self._app_env: Mapping[str, str] = options.env
        self._port = options.target.app.port or PROCESS["app"].port
        self.topology = options.topology
        self._published = dict(zip(PUBLISHED, free_ports(len(PUBLISHED)), strict=True))
        here = {name: f"http://{LOOPBACK}:{port}" for name, port in self._published.items()}
        self.app, self.sidecar, self.witness = here["app"], here["daprd"], here["witness"]
        self.gate = here["gates"] if options.gated else ""
        self.values: Mapping[str, str] = {}
        self._placeholders: dict[str, str] = {}
        self._fleet: Fleet | None = None
        self._links: Links | None = None

    def start(self, timeout: float = 120) -> None:
        """Starts everything; returns when the worker is connected. Images may have to be pulled."""
        client = connect()
        sweep(client)
        have = {name: images.find(client, name) for name in self._image_names()}
        deadline = time.monotonic() + timeout
        self._client = client
        self._fleet = fleet = Fleet(client, self._names())
        try:
            fleet.supervise()
            made = make_secrets(self._target)
            self._plan = Plan(
                options=self._options,
                images=have,
                app_port=self._port,
                published=self._published,
                data=fresh_folder(self._options.work / "data"),
                api_token=secrets.token_urlsafe(32),
                webhook_secret=secrets.token_urlsafe(32),
                webhook_secrets=fill(self._target.witness.secrets, made),
                store_password=secrets.token_hex(16),
                sidecar_address=fleet.addresses["daprd"],
            )
            self._placeholders = {**self._addresses(), **made}
            self._start(fleet, deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends everything and removes containers and the network; the application's data stays."""
        if self._links:
            self._links.close()
            self._links = None
        # Gone first of all: some other thread may wait for what will not come any more.
        fleet, self._fleet = self._fleet, None
        if fleet:
            fleet.close()

    def identity(self, victim: Victim) -> str:
        """The container, its process and when that was started."""
        return self._running.identity(victim)

    def state(self, victim: Victim) -> State:
        """Whether it runs, is paused, or has ended."""
        return self._running.state(victim)

    def kill(self, victim: Victim) -> None:
        """SIGKILL; returns when it is gone."""
        self._running.kill(victim)

    def terminate(self, victim: Victim) -> None:
        """A graceful stop; returns when it is gone."""
        self._running.terminate(victim)

    def pause(self, victim: Victim) -> None:
        """Freezes every process of it."""
        self._running.pause(victim)

    def resume(self, victim: Victim) -> None:
        """Lets it go on."""
        self._running.resume(victim)

    def cut(self, *links: str) -> None:
        """Breaks these links."""
        self._proxies.cut(*links)

    def disturb(self, link: str, toxic: Mapping[str, Any]) -> None:
        """Adds a toxic to the link."""
        self._proxies.disturb(link, toxic)

    def restore(self, *links: str) -> None:
        """Lets these links work again."""
        self._proxies.restore(*links)

    def connect(self, link: str) -> socket.socket:
        """A new connection over the link."""
        return self._proxies.connect(link)

    def wait_ready(self, *victims: Victim, timeout: float = 60) -> None:
        """Waits until these, or all, answer."""
        self._await(victims or self._names(), time.monotonic() + timeout)

    def replace_app(self, source: Path | None, env: Mapping[str, str]) -> None:
        """Runs another copy of the application's source on the same data from now on."""
        self._running.remove("app")
        self._source, self._app_env = source or self._target.folder, env
        self._running.start(self._app())
        self.wait_ready("app")

    def logs(self, victim: Victim) -> str:
        """The end of what it printed."""
        return self._running.logs(victim)

    def command(self, argv: Sequence[str]) -> str:
        """What a command prints, run in the application's container."""
        return self._running.execute("app", fill(list(argv), self._placeholders))

    @property
    def _running(self) -> Fleet:
        if self._fleet is None:
            raise ClusterError("the cluster is not running")
        return self._fleet

    @property
    def _proxies(self) -> Links:
        if self._links is None:
            raise ClusterError("the cluster is not running")
        return self._links

    def _start(self, fleet: Fleet, deadline: float) -> None:
        fleet.start(*self._plan.base())
        self._await(["toxiproxy"], deadline, HOPELESS)
        self._links = Links(f"http://{LOOPBACK}:{self._published['toxiproxy']}")
        for link in self.topology.links:
            upstream = f"{link.server}:{self.topology[link.server].port}"
            probe = (fleet.addresses["toxiproxy"], link.port)
            self._links.make(link.name, f"0.0.0.0:{link.port}", upstream, probe)
        self._await(list(self._options.stores.servers), deadline, HOPELESS)
        fleet.start(self._plan.daprd(), self._app())
        with ThreadPoolExecutor(1) as pool:
            own = pool.submit(self._own_values)
            self._await(self._names(), deadline, HOPELESS)
            self.values = {**self._placeholders, "witness": self.witness, **own.result()}

    def _names(self) -> list[str]:
        return [each.name for each in self.topology.processes]

    def _image_names(self) -> list[str]:
        stores = self._options.stores
        kinds = {stores.kind(process) for process in stores.servers}
        return ["dapr", "toxiproxy", "python", *sorted(kinds)]

    def _addresses(self) -> dict[str, str]:
        gated = self._options.gated
        host, _, port = self._plan.through("app-daprd").partition(":")
        filled = {
            "python": "python3",
            "host": "0.0.0.0",
            "port": str(self._port),
            "data": DATA,
            "app": self.app,
            "sidecar": self.sidecar,
            "witness": f"http://{self._plan.through('app-witness')}",
            "witness_direct": f"http://witness:{PROCESS['witness'].port}",
            "sidecar_host": "gates" if gated else "daprd",
            "sidecar_grpc_port": str(PROCESS["gates"].port if gated else GRPC),
            "sidecar_http_host": host,
            "sidecar_http_port": port,
            "api_token": self._plan.api_token,
            **{
                f"link:{link.server}": self._plan.through(link.name)
                for link in self._options.topology.links
                if link.client == "app"
            },
            "webhook_secret": self._plan.webhook_secret,
        }
        stores = self._options.stores
        if server := stores.servers.get(stores.of_application):
            at = self._plan.access("app", stores.of_application)
            filled[stores.database] = server.login(at)
        return filled

    def _app(self) -> Part:
        database, placeholders = self._options.stores.database, self._placeholders
        env = environment(self._target, database, self._app_env, placeholders)
        command = fill(list(self._target.app.command), placeholders)
        source = self._source.resolve()
        if self._target.app.image and source != self._target.folder:
            raise ClusterError(f"another source than that in {self._target.app.image} is not run")
        image = images.of_target(self._client, self._target.app, source)
        return self._plan.app(image, command, env, str(source))

    def _own_values(self) -> dict[str, str]:
        values = self._target.values
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(
                lambda value: self.command(value.command) if isinstance(value, Value) else value,
                values.values(),
            )
            return dict(zip(values, found, strict=True))

    def _await(self, names: Sequence[str], deadline: float, hopeless: float = math.inf) -> None:
        fleet, probes = self._running, self._probes()

        def unmet(name: str) -> str | None:
            if self._fleet is not fleet:
                raise ClusterError("the cluster is being stopped")
            if fleet.ends(name) >= hopeless:
                raise ClusterError(f"{name} keeps ending; {fleet.logs(name)}")
            return probes[name]()

        for name in names:
            try:
                wait_until(partial(unmet, name), max(0.1, deadline - time.monotonic()))
            except NotReadyError as error:
                raise ClusterError(f"{error}; {fleet.logs(name)}") from error

    def _probes(self) -> dict[str, Callable[[], str | None]]:
        where = self._running.addresses
        asked = {
            each.name: partial(_unready, each, where[each.name])
            for each in self.topology.processes
            if each.ready is not None
        }
        servers = {
            name: partial(self._unready_server, name, server, where[name])
            for name, server in self._options.stores.servers.items()
        }
        return {
            **asked,
            **servers,
            "app": lambda: unready_worker(
                self.app, self._target.app.ready, self.sidecar, self._plan.api_token
            ),
        }

    def _unready_server(self, name: str, server: Server, address: str) -> str | None:
        why = server.unready(address, server.port, self._plan.store_password)
        return None if why is None else f"{name} ({why})"


def _unready(process: Process, address: str) -> str | None:
    path = process.ready or ""
    code = status(process.ready_port or process.port, path, address)
    well = code is not None and 200 <= code < 300
    return None if well else f"{process.name} (GET {path}: {code or 'no answer'})"
