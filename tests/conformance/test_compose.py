"""docker-compose.yml from a clean clone: what a newcomer does, and what then happens to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from conformance.clusters.leftovers import OWNER, ourselves, sweep
from images.compose import command
from images.daemon import ensure_running
from launcher.net import free_ports, wait_until
from launcher.services import token
from launcher.settings import ROOT, Secrets
from tests.support.shop import FULFILLED
from tests.support.shop import order as an_order

SERVICES = ("app", "daprd", "downstream", "holder", "placement", "postgres", "scheduler")
BUILDS = 1800  # seconds on a machine that has none of the images' bases
UP = 120


@dataclass(frozen=True)
class Compose:
    """The stack of one clone."""

    folder: Path
    url: str
    env: dict[str, str]
    client: docker.DockerClient

    @property
    def token(self) -> dict[str, str]:
        """As somebody makes one who has only the folder."""
        made = token(Secrets.of(self.folder / ".run"))
        return {"Authorization": f"Bearer {made}"}

    def run(self, *arguments: str, timeout: float = UP) -> str:
        return _run([*command(), *arguments], self.folder, self.env, timeout)

    def up(self) -> None:
        self.run("up", "-d")
        self.await_ready()

    def await_ready(self) -> None:
        wait_until(lambda: None if _status(f"{self.url}/readyz") == 200 else "not ready", UP)

    def container(self, service: str) -> Any:
        known = {"project": self.env["COMPOSE_PROJECT_NAME"], "service": service}
        labels = [f"com.docker.compose.{name}={value}" for name, value in known.items()]
        (found,) = self.client.containers.list(all=True, filters={"label": labels})
        return found

    def start(self) -> str:
        order = f"order-{uuid.uuid4().hex[:10]}"
        answer = httpx.post(
            f"{self.url}/orders", json=an_order(order), headers=self.token, timeout=30
        )
        assert answer.status_code == 202, answer.text
        return order

    def await_end(self, order: str) -> None:
        """Waits for the end, and looks into the ledger whether everything happened once."""

        def unmet() -> str | None:
            try:
                seen = httpx.get(
                    f"{self.url}/workflows/{order}", headers=self.token, timeout=10
                ).json()
            except httpx.TransportError as error:
                return str(error)
            return None if seen["outcome"] == "FULFILLED" else f"{order} is {seen}"

        wait_until(unmet, UP)
        assert self.effects(order) == FULFILLED

    def effects(self, order: str) -> list[str]:
        url = f"http://127.0.0.1:8100/ledger?instance={order}"
        program = f"import urllib.request as u; print(u.urlopen({url!r}).read().decode())"
        ledger = self.run("exec", "-T", "downstream", "python3", "-c", program)
        return [effect["operation"] for effect in json.loads(ledger)["effects"]]


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    client = ensure_running()
    sweep(client)
    folder = tmp_path_factory.mktemp("compose") / "clone"
    _clone(folder)
    port = free_ports(1)[0]
    env = {
        **os.environ,
        "COMPOSE_PROJECT_NAME": f"steadfast-test-{os.getpid()}",
        "STEADFAST_PORT": str(port),
    }
    env.pop("STEADFAST_RUN_DIR", None)
    _run([sys.executable, "-m", "images"], folder, env, BUILDS)
    made = Compose(folder, f"http://127.0.0.1:{port}", env, client)
    try:
        made.up()
        yield made
    finally:
        made.run("down", "--volumes")
    assert not _ours(client), "something of this run was left behind"


def test_an_order_goes_through(compose: Compose) -> None:
    compose.await_end(compose.start())


def test_everything_says_that_it_is_well(compose: Compose) -> None:
    def unmet() -> str | None:
        states = {name: compose.container(name).attrs["State"] for name in SERVICES}
        health = {name: state.get("Health", {}).get("Status") for name, state in states.items()}
        ill = {name for name, status in health.items() if status not in (None, "healthy")}
        assert all(state["Running"] for state in states.values())
        return f"{ill} not healthy" if ill else None

    wait_until(unmet, UP)


def test_only_the_api_is_published_and_on_loopback(compose: Compose) -> None:
    port = compose.url.rpartition(":")[2]
    published = [
        (service, binding["HostIp"], binding["HostPort"])
        for service in SERVICES
        for bindings in compose.container(service).attrs["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    ]
    assert published == [("holder", "127.0.0.1", port)]


@pytest.mark.parametrize("service", ["app", "daprd"])
def test_what_crashes_is_started_again_by_docker(compose: Compose, service: str) -> None:
    order = compose.start()
    container = compose.container(service)
    os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)

    def unmet() -> str | None:
        container.reload()
        return None if container.attrs["RestartCount"] == 1 else f"{service} is not restarted"

    wait_until(unmet, UP)
    compose.await_ready()
    compose.await_end(order)


def test_what_docker_kills_stays_down_until_the_next_up(compose: Compose) -> None:
    order = compose.start()
    killed = [compose.container(service) for service in ("app", "daprd")]
    for container in killed:
        container.kill()
    for container in killed:
        container.reload()
        # Not "restarting": to Docker it was stopped by hand.
        assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 137)
    compose.up()
    compose.await_end(order)


def test_data_survives_down_and_up(compose: Compose) -> None:
    orders = [compose.start() for _ in range(3)]
    compose.await_end(orders[0])
    compose.run("down")
    assert compose.run("ps", "-q").strip() == ""
    compose.up()
    for order in (*orders, compose.start()):
        compose.await_end(order)


def _clone(folder: Path) -> None:
    """What git would clone once everything is committed; binaries are not built a second time."""
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = _run(asked, ROOT, dict(os.environ), UP).split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".runtime").symlink_to(ROOT / ".runtime")
    # By the label, the next run finds what a killed one has left. JSON is YAML.
    labels = {"labels": {OWNER: ourselves()}}
    override = {
        "services": dict.fromkeys(SERVICES, labels),
        "networks": {"default": labels},
        "volumes": dict.fromkeys(("downstream", "postgres", "scheduler"), labels),
    }
    (folder / "docker-compose.override.yml").write_text(json.dumps(override, indent=2))


def _run(argv: list[str], folder: Path, env: dict[str, str], timeout: float) -> str:
    done = subprocess.run(
        argv, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout


def _status(url: str) -> int | None:
    try:
        return httpx.get(url, timeout=2).status_code
    except httpx.TransportError:
        return None


def _ours(client: docker.DockerClient) -> list[str]:
    filters = {"label": f"{OWNER}={ourselves()}"}
    return [
        *(each.name for each in client.containers.list(all=True, filters=filters)),
        *(each.name for each in client.networks.list(filters=filters)),
        *(each.name for each in client.volumes.list(filters=filters)),
    ]
