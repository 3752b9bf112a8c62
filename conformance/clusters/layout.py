"""Which processes a cluster has, on which ports, and what the application is told of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

from conformance.clusters import Options
from conformance.clusters.stores import Access, kinds
from conformance.clusters.tree import fresh_store_folder
from conformance.plan.placeholders import fill, make_secrets
from conformance.topology import PROCESS
from launcher import services
from launcher.net import LOOPBACK, free_ports
from launcher.services import Service
from launcher.settings import Secrets, Settings


@dataclass(frozen=True, slots=True)
class Watched(Service):
    """A service that is not asked over HTTP whether it is ready."""

    probe: Callable[[], str | None] = lambda: None

    def unready(self) -> str | None:
        """What its probe says."""
        return self.probe()


class Layout:
    """Ports, secrets and commands of one cluster; nothing runs yet."""

    def __init__(self, options: Options, binaries: Mapping[str, Path]) -> None:
        """Choose free ports.

        Raises:
            LauncherError: there are none, or there is no such server here.
        """
        self._options = options
        self._binaries = binaries
        self._target = options.target
        self.settings = Settings.ephemeral(options.work, app_id=options.target.app_id)
        self.secrets = Secrets.of(options.work)
        self.topology = options.topology
        links = self.topology.links
        servers = options.stores.servers
        self._gate_grpc, self._gate_control, self._api, *free = free_ports(
            3 + len(servers) + len(links)
        )
        self._server_ports = {name: free.pop() for name in servers}
        self.through = dict(zip((link.name for link in links), free, strict=True))
        self._password = token_hex(16)
        folder = fresh_store_folder(options.work)
        self._servers = {
            name: server.plain(folder / name, self._server_ports[name], self._password)
            for name, server in servers.items()
        }
        self.app = f"http://{LOOPBACK}:{self.settings.port}"
        self.sidecar = f"http://{LOOPBACK}:{self.settings.dapr_http_port}"
        self.witness = f"http://{LOOPBACK}:{self.settings.downstream_port}"
        self.gate = f"http://{LOOPBACK}:{self._gate_control}" if options.gated else ""
        self.links_api = f"http://{LOOPBACK}:{self._api}"
        self.placeholders = self._placeholders()

    def _placeholders(self) -> dict[str, str]:
        settings = self.settings
        grpc = self._gate_grpc if self._options.gated else settings.dapr_grpc_port
        known = {
            "python": sys.executable,
            "host": LOOPBACK,
            "port": str(settings.port),
            "data": str(self._options.work / "data"),
            "app": self.app,
            "sidecar": self.sidecar,
            "witness": f"http://{LOOPBACK}:{self.through['app-witness']}",
            "witness_direct": self.witness,
            "sidecar_host": LOOPBACK,
            "sidecar_http_host": LOOPBACK,
            "sidecar_http_port": str(self.through["app-daprd"]),
            "sidecar_grpc_port": str(grpc),
            "api_token": self.secrets.dapr_api_token,
            **{f"link:{name}": f"{LOOPBACK}:{port}" for name, port in self._of_app().items()},
            "webhook_secret": self.secrets.webhook_secret,
            **make_secrets(self._target),
        }
        stores = self._options.stores
        if server := stores.servers.get(stores.of_application):
            known[stores.database] = server.login(self._access("app", stores.of_application))
        return known

    def _of_app(self) -> dict[str, int]:
        """Where the application reaches whom."""
        links = self.topology.links
        return {link.server: self.through[link.name] for link in links if link.client == "app"}

    def upstreams(self) -> dict[str, int]:
        """The port behind each link."""
        settings = self.settings
        ports = {
            "daprd": settings.dapr_http_port,
            "scheduler": settings.scheduler_port,
            "placement": settings.placement_port,
            "witness": settings.downstream_port,
            **self._server_ports,
        }
        return {link.name: ports[link.server] for link in self.topology.links}

    def _access(self, client: str, process: str) -> Access:
        """How a client reaches a store; one without a process is a file."""
        server = process in self._servers
        address = f"{LOOPBACK}:{self.through[f'{client}-{process}']}" if server else ""
        return Access(address, self._password, str(self.settings.data_dir))

    def base(self) -> list[Service]:
        """Everything but the links and the application."""
        settings = self.settings
        # The sidecar reaches everybody through links; the others listen where they always do.
        linked = settings.model_copy(
            update={
                "placement_port": self.through["daprd-placement"],
                "scheduler_port": self.through["daprd-scheduler"],
            }
        )
        scheduler = services.scheduler(settings, self._binaries["scheduler"])
        # The scheduler tells sidecars where it is; without this they would find a way around.
        told = f"--override-broadcast-host-port={LOOPBACK}:{self.through['daprd-scheduler']}"
        base = [
            services.placement(settings, self._binaries["placement"]),
            replace(scheduler, command=(*scheduler.command, told)),
            self._daprd(linked),
            self._witness(),
        ]
        if self._options.gated:
            base.append(self._gates())
        return [*base, *(self._server(name) for name in self._servers)]

    def _daprd(self, settings: Settings) -> Service:
        kind = self._options.stores.state
        ports = services.sidecar_ports(settings)
        given = services.daprd(settings, self.secrets, self._binaries["daprd"], "daprd", ports)
        resources = f"--resources-path={settings.components / kind}"
        others = (part for part in given.command if not part.startswith("--resources-path="))
        state = kinds()[kind].environment(self._access("daprd", "store"))
        return replace(given, command=(*others, resources), env={**given.env, **state})

    def toxiproxy(self) -> Service:
        """The links; they have to be there before anybody goes through them."""
        port = self._api
        command = (str(self._binaries["toxiproxy"]), "-host", LOOPBACK, "-port", str(port))
        env = services.environment(self.settings)
        return Service("toxiproxy", command, env, {"port": port}, _ready("toxiproxy"), port)

    def _gates(self) -> Service:
        listen, control = (f"{LOOPBACK}:{p}" for p in (self._gate_grpc, self._gate_control))
        upstream = f"{LOOPBACK}:{self.settings.dapr_grpc_port}"
        flags = ("--listen", listen, "--upstream", upstream, "--control", control)
        return Service(
            "gates",
            (sys.executable, "-m", "conformance.gates", *flags),
            services.environment(self.settings),
            {"port": self._gate_control},
            _ready("gates"),
            self._gate_control,
        )

    def _witness(self) -> Service:
        config = (self._target.folder / self._target.witness.config).resolve()
        given = services.downstream(self.settings, self.secrets, config)
        own = json.dumps(fill(self._target.witness.secrets, self.placeholders))
        env = {**given.env, "DOWNSTREAM_WEBHOOK_SECRETS": own}
        return replace(given, name="witness", env=env)

    def _server(self, name: str) -> Service:
        server, how = self._options.stores.servers[name], self._servers[name]
        port = self._server_ports[name]

        def unready() -> str | None:
            why = server.unready(LOOPBACK, port, self._password)
            return None if why is None else f"{name} ({why})"

        return Watched(
            name,
            how.command,
            services.environment(self.settings),
            {"port": port},
            (),
            port,
            cwd=how.folder,
            stop_signal=server.stop_signal,
            user=how.user,
            probe=unready,
        )


def _ready(name: str) -> tuple[str, ...]:
    path = PROCESS[name].ready
    return () if path is None else (path,)
