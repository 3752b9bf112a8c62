"""Which images a cluster of containers takes, and what their containers are given."""

from __future__ import annotations

import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from conformance.clusters import ClusterError, Options
from conformance.clusters.images import PUBLIC, find
from conformance.clusters.parts import Plan
from conformance.plan.contract import load
from launcher.settings import ROOT

VARIABLE = "CONFORMANCE_DAPR_IMAGE"


class Daemon:
    """A daemon with these images, and a registry with those."""

    def __init__(self, *here: str, registry: tuple[str, ...] = ()) -> None:
        self.images = self
        self._here = {*here}
        self._registry = registry

    def get(self, name: str) -> None:
        if name not in self._here:
            raise ImageNotFound(name)

    def pull(self, name: str) -> None:
        if name not in self._registry:
            raise APIError(f"no {name}")
        self._here.add(name)


def _found(daemon: Daemon) -> str:
    return find(cast(docker.DockerClient, daemon), "dapr")


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_an_image_is_the_public_one_unless_another_stands_in() -> None:
    assert _found(Daemon(registry=(PUBLIC["dapr"],))) == PUBLIC["dapr"]
    assert _found(Daemon(PUBLIC["dapr"], "conformance-dapr:local")) == "conformance-dapr:local"


def test_an_image_that_is_named_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mine:1")
    assert _found(Daemon("conformance-dapr:local", registry=("mine:1",))) == "mine:1"


def test_an_image_that_cannot_be_pulled_says_how_to_name_another() -> None:
    with pytest.raises(ClusterError, match=f"{PUBLIC['dapr']}.*{VARIABLE}"):
        _found(Daemon())


def test_only_a_bare_python_is_given_the_packages_of_the_suite() -> None:
    packages = sysconfig.get_path("purelib")
    assert packages in _app_of(PUBLIC["python"]).mounts
    assert _app_of(PUBLIC["python"]).env["PYTHONPATH"] == "/opt/packages"
    assert packages not in _app_of("mine:1").mounts


def test_a_target_s_own_image_is_given_no_source_and_no_packages() -> None:
    assert _app_of(PUBLIC["python"], image="theirs:1").mounts == {}


def _app_of(python: str, image: str | None = None) -> Any:
    some: dict[str, Any] = defaultdict(lambda: 1)
    options = Options(load(ROOT / "target.toml"), Path("work"))
    plan = Plan(options, {"python": python}, 8000, some, Path("data"), "t", "s", {}, "p", "::1")
    return plan.app(image, ["python3"], {}, "source")
