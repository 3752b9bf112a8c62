"""A stack whose worker and clients reach their sidecar through a gate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx

from launcher.net import LOOPBACK, free_ports, wait_until
from launcher.settings import Settings
from launcher.stack import Stack
from tests.support.shop import until

DEADLINE = 5.0  # seconds for a call to the sidecar


@dataclass
class Gate:
    """The gate's control, as the suite uses it."""

    url: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=15))

    def ask(self, method: str, path: str, **given: Any) -> Any:
        response = self.http.request(method, self.url + path, **given)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def rule(self, instance: str, point: str, action: str, **more: Any) -> None:
        rule = {"instance": instance, "point": point, "action": action, **more}
        assert self.ask("POST", "/rules", json=[rule]) == {"added": 1}

    def release(self, **fates: str) -> int:
        return int(self.ask("POST", "/release", json=fates)["released"])

    def instances(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/instances")["instances"]
        return found

    def wait(self, instance: str, timeout: float = 15, **expected: Any) -> dict[str, Any]:
        """Waits until the gate sees an instance so."""

        def seen() -> dict[str, Any] | None:
            found = self.instances().get(instance, {})
            return found if expected.items() <= found.items() else None

        return until(seen, timeout, f"{instance} {expected}")

    def points(self, instance: str) -> list[tuple[str, str]]:
        return [(row["point"], row["label"]) for row in self.crossed(instance)]

    def crossed(self, instance: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.ask("GET", "/points", params={"instance": instance})
        return rows

    def actions(self, instance: str, point: str) -> list[str]:
        """What became of the messages at a point; none while nothing is known of the instance."""
        if instance not in self.instances():
            return []
        rows = self.ask("GET", "/messages", params={"instance": instance})
        return [row["action"] for row in rows if row["point"] == point]

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/state")
        return found


@dataclass
class Client:
    """Somebody who asks a sidecar directly, at its own address or at the gate's."""

    address: str
    api_token: str

    def ask(self, method: str, message: Any, timeout: float = DEADLINE) -> tuple[str, str | bytes]:
        """The status of one call, and the answer or what was said instead of it."""
        unlimited = [("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(self.address, options=unlimited) as channel:
            call = channel.unary_unary(f"/TaskHubSidecarService/{method}")
            metadata = (("dapr-api-token", self.api_token),)
            try:
                answer: bytes = call(
                    message.SerializeToString(), metadata=metadata, timeout=timeout
                )
            except grpc.RpcError as error:
                return error.code().name, str(error.details())
            return "OK", answer


@dataclass
class Bench:
    """The stack, its gate, and a client on either side of it."""

    stack: Stack
    gate: Gate
    through: Client
    past: Client


@contextmanager
def gated_stack(folder: Path) -> Iterator[Bench]:
    """A stack on files of this folder, with a gate before its sidecar."""
    settings = Settings.ephemeral(folder)
    sidecar = f"{LOOPBACK}:{settings.dapr_grpc_port}"
    listen, control = (f"{LOOPBACK}:{port}" for port in free_ports(2))
    gate = Gate(f"http://{control}")
    command = [sys.executable, "-m", "conformance.gates", "--listen", listen]
    process = subprocess.Popen([*command, "--upstream", sidecar, "--control", control])
    env = {"DAPR_GRPC_ENDPOINT": listen, "STEADFAST_RECONCILE_INTERVAL": "1"}
    try:
        wait_until(lambda: _unready(gate), 10)
        with Stack(settings, app_env=env) as stack:
            key = stack.secrets.dapr_api_token
            yield Bench(stack, gate, through=Client(listen, key), past=Client(sidecar, key))
    finally:
        process.terminate()
        process.wait(5)


def _unready(gate: Gate) -> str | None:
    try:
        gate.ask("GET", "/livez")
    except httpx.TransportError as error:
        return str(error)
    return None
