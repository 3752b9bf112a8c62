"""What each container of a cluster is: its image, command, environment, mounts and ports.

Everybody listens where it always does: each has a network namespace of its own.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from conformance.clusters import Options
from conformance.clusters.fleet import Part
from conformance.clusters.images import PUBLIC
from conformance.clusters.stores import Access, kinds
from conformance.topology import PROCESS
from launcher.settings import RESOURCES, ROOT

GRPC = 50001  # at which a worker without a gate finds its sidecar
SOURCE = "/target"
OURS = "/opt/conformance"
PACKAGES = "/opt/packages"
STATE = "/tmp"  # of a process whose container it lives and dies with


@dataclass(frozen=True)
class Plan:
    """Everything that the parts of one cluster depend on.

    `images` are by what they are for, `published` are ports of this host, and `data` is a folder of
    it in which the application keeps what it wants.
    """

    options: Options
    images: Mapping[str, str]
    app_port: int
    published: Mapping[str, int]
    data: Path
    api_token: str
    webhook_secret: str
    webhook_secrets: Mapping[str, str]
    store_password: str
    sidecar_address: str

    def through(self, link: str) -> str:
        """`host:port` at which a link is entered."""
        (port,) = (each.port for each in self.options.topology.links if each.name == link)
        return f"toxiproxy:{port}"

    def access(self, client: str, process: str) -> Access:
        """How a client reaches a store; one without a process is a file."""
        server = process in self.options.stores.servers
        address = self.through(f"{client}-{process}") if server else ""
        return Access(address, self.store_password, STATE)

    def base(self) -> list[Part]:
        """Everything but the application and its sidecar, the slowest first."""
        made: dict[str, Callable[[], Part]] = {
            **{name: partial(self._server, name) for name in self.options.stores.servers},
            "gates": self._gates,
            "witness": self._witness,
            "toxiproxy": self._toxiproxy,
            "scheduler": self._scheduler,
            "placement": self._placement,
        }
        there = {each.name for each in self.options.topology.processes}
        return [make() for name, make in made.items() if name in there]

    def daprd(self) -> Part:
        """The sidecar. It reaches everybody through links."""
        kind = self.options.stores.state
        flags = {
            "app-id": self.options.target.app_id,
            "resources-path": f"/components/{kind}",
            "config": "/components/config.yaml",
            "placement-host-address": self.through("daprd-placement"),
            "scheduler-host-address": self.through("daprd-scheduler"),
            "dapr-listen-addresses": "0.0.0.0",
            "dapr-http-port": PROCESS["daprd"].port,
            "dapr-grpc-port": GRPC,
            "metrics-listen-address": "127.0.0.1",
        }
        env = {
            "DAPR_API_TOKEN": self.api_token,
            "DAPR_HOST_IP": self.sidecar_address,
            **kinds()[kind].environment(self.access("daprd", "store")),
        }
        return Part(
            "daprd",
            self.images["dapr"],
            tuple(f"--{name}={value}" for name, value in flags.items()),
            env,
            {str(RESOURCES / "components"): "/components"},
            {PROCESS["daprd"].port: self.published["daprd"]},
            entrypoint="/daprd",
        )

    def app(
        self, image: str | None, command: list[str], env: Mapping[str, str], source: str
    ) -> Part:
        """The application: in its own image as that says, otherwise in ours, on its source."""
        own = image is not None
        return Part(
            "app",
            image or self.images["python"],
            tuple(command),
            env if own else {**self._python_env(), **env},
            {} if own else {**self._packages(), source: SOURCE},
            {self.app_port: self.published["app"]},
            folder=None if own else SOURCE,
            # A command that does not care about signals would ignore them as process 1.
            init=True,
            data=self.data,
        )

    def _placement(self) -> Part:
        return Part("placement", self.images["dapr"], (), entrypoint="/placement")

    def _toxiproxy(self) -> Part:
        return Part(
            "toxiproxy",
            self.images["toxiproxy"],
            ("-host", "0.0.0.0"),
            ports={PROCESS["toxiproxy"].port: self.published["toxiproxy"]},
            entrypoint="/toxiproxy",
        )

    def _scheduler(self) -> Part:
        command = (
            f"--etcd-data-dir={STATE}/scheduler",
            # The scheduler tells sidecars where it is; without this they would find a way around.
            f"--override-broadcast-host-port={self.through('daprd-scheduler')}",
        )
        return Part("scheduler", self.images["dapr"], command, entrypoint="/scheduler")

    def _server(self, name: str) -> Part:
        server = self.options.stores.servers[name]
        how = server.contained(self.store_password)
        part = Part(name, self.images[self.options.stores.kind(name)], how.command, how.env)
        return replace(
            part,
            user=None if how.as_user_of_image else part.user,
            entrypoint=how.entrypoint,
            stop_signal=server.stop_signal.name,
        )

    def _witness(self) -> Part:
        target = self.options.target
        flags = {
            "host": "0.0.0.0",
            "port": str(PROCESS["witness"].port),
            "data": f"{STATE}/witness",
            "config": f"{SOURCE}/{target.witness.config}",
            "webhook-url": f"http://app:{self.app_port}",
        }
        arguments = (part for name, value in flags.items() for part in (f"--{name}", value))
        return Part(
            "witness",
            self.images["python"],
            ("python3", "-m", "downstream", *arguments),
            {
                **self._python_env(),
                "DOWNSTREAM_WEBHOOK_SECRET": self.webhook_secret,
                "DOWNSTREAM_WEBHOOK_SECRETS": json.dumps(self.webhook_secrets),
            },
            {**self._packages(), **_ours("downstream"), str(target.folder): SOURCE},
            {PROCESS["witness"].port: self.published["witness"]},
            folder=OURS,
        )

    def _gates(self) -> Part:
        gates = PROCESS["gates"]
        flags = {
            "listen": f"0.0.0.0:{gates.port}",
            "upstream": f"daprd:{GRPC}",
            "control": f"0.0.0.0:{gates.ready_port}",
        }
        arguments = (part for name, value in flags.items() for part in (f"--{name}", value))
        return Part(
            "gates",
            self.images["python"],
            ("python3", "-m", "conformance.gates", *arguments),
            self._python_env(),
            {**self._packages(), **_ours("conformance", "launcher")},
            ports={gates.ready_port or gates.port: self.published["gates"]},
            folder=OURS,
        )

    def _packages(self) -> dict[str, str]:
        """The packages of this interpreter, for a Python that is like it and has none of them."""
        bare = self.images["python"] == PUBLIC["python"]
        return {sysconfig.get_path("purelib"): PACKAGES} if bare else {}

    def _python_env(self) -> dict[str, str]:
        seen = {"PYTHONPATH": PACKAGES} if self._packages() else {}
        return {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **seen}


def _ours(*folders: str) -> dict[str, str]:
    """Our own source as it is now, so that no image is built again when it changes."""
    return {str(ROOT / folder): f"{OURS}/{folder}" for folder in folders}
