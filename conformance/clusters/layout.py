"""Which processes a cluster has, on which ports, and what the application is told of them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.clusters import ClusterError, Options
from conformance.clusters.tree import fresh_store_folder
from conformance.plan.placeholders import fill, make_secrets
from conformance.topology import PROCESS
from launcher import services
from launcher.net import LOOPBACK, free_ports
from launcher.postgres import Postgres
from launcher.services import Service
from launcher.settings import ROOT, Secrets, Settings


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
        """Choose ports that nobody uses.

        Raises:
            LauncherError: there are none, or PostgreSQL cannot be had.
        """
        self._options = options
        self._binaries = binaries
        self._target = options.target
        self.settings = Settings.ephemeral(options.work, app_id=options.target.app_id)
        self.secrets = Secrets.of(options.work)
        self.topology = options.topology
        links = self.topology.links
        self._gate_grpc, self._gate_control, self._api, self._store_port, *free = free_ports(
            4 + len(links)
        )
        self.through = dict(zip((link.name for link in links), free, strict=True))
        self.store: Postgres | None = None
        if options.store == "postgres":
            self.store = Postgres(fresh_store_folder(options.work), self._store_port)
            self.store.create()
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
            "webhook_secret": self.secrets.webhook_secret,
            **make_secrets(self._target),
        }
        return {**known, "postgres": self._database("app-store")} if self.store else known

    def upstreams(self) -> dict[str, int]:
        """The port behind each link."""
        settings = self.settings
        ports = {
            "daprd": settings.dapr_http_port,
            "scheduler": settings.scheduler_port,
            "placement": settings.placement_port,
            "store": self._store_port,
            "witness": settings.downstream_port,
        }
        return {link.name: ports[link.server] for link in self.topology.links}

    def _database(self, link: str) -> str:
        if self.store is None:
            raise ClusterError("there is no PostgreSQL in this cluster")
        login = self.store.url().partition("://")[2].partition("@")[0]
        return f"{login}@{LOOPBACK}:{self.through[link]}/postgres"

    def base(self) -> list[Service]:
        """Everything but the links and the application."""
        settings = self.settings
        # The sidecar reaches everybody through links; the others listen where they always do.
        linked = settings.model_copy(
            update={
                "placement_port": self.through["daprd-placement"],
                "scheduler_port": self.through["daprd-scheduler"],
                "store": self._options.store,
                "postgres_url": (
                    f"postgresql://{self._database('daprd-store')}" if self.store else None
                ),
            }
        )
        scheduler = services.scheduler(settings, self._binaries["scheduler"])
        # The scheduler tells sidecars where it is; without this they would find a way around.
        told = f"--override-broadcast-host-port={LOOPBACK}:{self.through['daprd-scheduler']}"
        base = [
            services.placement(settings, self._binaries["placement"]),
            replace(scheduler, command=(*scheduler.command, told)),
            services.daprd(
                linked,
                self.secrets,
                self._binaries["daprd"],
                "daprd",
                services.sidecar_ports(settings),
            ),
            self._witness(),
        ]
        if self._options.gated:
            base.append(self._gates())
        if self.store:
            base.append(self._postgres(self.store))
        return base

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
        given = services.downstream(self.settings, self.secrets)
        config = str((self._target.folder / self._target.witness.config).resolve())
        default = str(ROOT / "downstream" / "providers.toml")
        command = tuple(config if part == default else part for part in given.command)
        own = json.dumps(fill(self._target.witness.secrets, self.placeholders))
        env = {**given.env, "DOWNSTREAM_WEBHOOK_SECRETS": own}
        return replace(given, name="witness", command=command, env=env)

    def _postgres(self, store: Postgres) -> Service:
        env = services.environment(self.settings)
        return Watched(
            "store",
            # A SIGKILL loses nothing that was written to the kernel; fsync is for a loss of power.
            (*store.command(), "--fsync=off", "--max_connections=300"),
            env,
            {"port": self._store_port},
            (),
            self._store_port,
            cwd=store.folder,
            stop_signal=signal.SIGINT,
            user=store.user,
            probe=store.unready,
        )


def _ready(name: str) -> tuple[str, ...]:
    path = PROCESS[name].ready
    return () if path is None else (path,)
