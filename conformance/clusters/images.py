"""The images that clusters run, built here and named after what is in them.

`python -m conformance.clusters.images` builds those of docker-compose.yml, under fixed names, and
makes the secrets that it wants.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import docker
from docker.errors import APIError, BuildError

from conformance.clusters import ClusterError, compose
from conformance.clusters import packages as python_packages
from conformance.clusters.bases import base, exists
from conformance.clusters.docker import ensure_running, only_one
from conformance.plan.contract import App
from launcher.errors import LauncherError
from launcher.runtime import CORE, TOOLS, find_or_build
from launcher.settings import ROOT, Settings

log = logging.getLogger(__name__)

DOCKERFILES = ROOT / "images"
SOURCE = (
    "activities",
    "app",
    "components",
    "conformance",
    "downstream",
    "launcher",
    "workflows",
)
PREFIX = "steadfast-build-"
BINARIES = (*CORE, "toxiproxy")
T = TypeVar("T")
Context = Mapping[str, Path]
"""What a Dockerfile may copy: files and folders by the name that it uses."""


@dataclass(frozen=True)
class Images:
    """Names of what a cluster runs. `python` has our packages, and no source."""

    dapr: str
    python: str
    postgres: str


@dataclass(frozen=True)
class Recipe:
    """How an image is made; `of` is everything that it depends on, and gives its name."""

    name: str
    of: tuple[str, ...]
    context: Callable[[Path], Context]
    base: str | None = None

    @property
    def tag(self) -> str:
        """Another one whenever something is different."""
        text = "\n".join((self.dockerfile, *self.of))
        return f"{PREFIX}{self.name}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def dockerfile(self) -> str:
        """The text of its Dockerfile."""
        return (DOCKERFILES / f"{self.name}.Dockerfile").read_text("utf-8")


def ensure(client: docker.DockerClient) -> Images:
    """What every cluster needs; what is not there is built.

    Raises:
        ClusterError: a build failed; says what it said.
    """
    recipes = [_dapr(), _python(client), _postgres(client)]
    with ThreadPoolExecutor(len(recipes)) as pool:
        dapr, python, postgres = pool.map(lambda recipe: _have(client, recipe), recipes)
    return Images(dapr, python, postgres)


def of_target(client: docker.DockerClient, app: App, folder: Path) -> str | None:
    """The target's own image, built if it has a Dockerfile; `None` when it runs in ours.

    Raises:
        ClusterError: it cannot be had.
    """
    if app.image is not None:
        if not exists(client, app.image):
            _try(lambda: client.images.pull(app.image), app.image)
        return app.image
    if app.dockerfile is None:
        return None
    log.info("building %s", folder / app.dockerfile)
    tag = f"steadfast-target:{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    given = {"path": str(folder), "dockerfile": app.dockerfile, "tag": tag, "rm": True}
    _try(lambda: client.images.build(**given), str(folder / app.dockerfile))
    return tag


def for_compose(client: docker.DockerClient) -> list[str]:
    """Builds what docker-compose.yml names, under fixed names, and returns these.

    Raises:
        ClusterError: a build failed; says what it said.
    """
    images = ensure(client)
    source = _have(client, _source(client, images.python))
    named = {
        "steadfast:local": source,
        "steadfast-dapr:local": images.dapr,
        "steadfast-postgres:local": images.postgres,
    }
    for name, image in named.items():
        client.images.get(image).tag(name)
    return list(named)


def _dapr() -> Recipe:
    try:
        binaries = find_or_build(BINARIES, Settings.load().dapr_bin)
    except LauncherError as error:
        raise ClusterError(str(error)) from error
    stamps = [TOOLS[name].stamp for name in BINARIES]
    # A folder that somebody names may have anything in it.
    sizes = [
        f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in binaries.values()
    ]

    def context(draft: Path) -> Context:
        (draft / "data").mkdir()
        (draft / "data").chmod(0o1777)
        found = {**binaries, "data": draft / "data"}
        return {f"root/{name}": path for name, path in found.items()}

    return Recipe("dapr", (*stamps, *sizes), context)


def _python(client: docker.DockerClient) -> Recipe:
    start = base(client, "python")
    locked = (ROOT / "requirements.lock").read_text("utf-8")

    def context(draft: Path) -> Context:
        python_packages.lay_out(draft / "packages")
        return {"packages": draft / "packages"}

    wanted = (_identity(client, start), locked, *python_packages.dependencies())
    return Recipe("python", wanted, context, start)


def _postgres(client: docker.DockerClient) -> Recipe:
    start = base(client, "postgres")
    script = DOCKERFILES / "postgres.sh"
    wanted = (_identity(client, start), script.read_text("utf-8"))
    return Recipe("postgres", wanted, lambda _: {"postgres.sh": script}, start)


def _source(client: docker.DockerClient, start: str) -> Recipe:
    files = {f"source/{name}": ROOT / name for name in SOURCE}
    digests = [
        f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for folder in files.values()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    wanted = (_identity(client, start), *digests)
    return Recipe("steadfast", wanted, lambda _: files, start)


def _identity(client: docker.DockerClient, name: str) -> str:
    found: str = _try(lambda: client.images.get(name), name).id
    return found


def _have(client: docker.DockerClient, recipe: Recipe) -> str:
    if exists(client, recipe.tag):
        return recipe.tag
    with only_one(f"image-{recipe.name}"):
        if not exists(client, recipe.tag):
            _build(client, recipe)
    return recipe.tag


def _build(client: docker.DockerClient, recipe: Recipe) -> None:
    log.info("building %s", recipe.tag)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as draft,
        tempfile.TemporaryFile() as file,
    ):
        with tarfile.open(fileobj=file, mode="w", dereference=True) as tar:
            for name, path in recipe.context(Path(draft)).items():
                tar.add(path, name, filter=_plain)
            tar.add(DOCKERFILES / f"{recipe.name}.Dockerfile", "Dockerfile")
        file.seek(0)
        arguments = {"BASE": recipe.base} if recipe.base else {}
        given = {"fileobj": file, "custom_context": True, "buildargs": arguments}
        _try(lambda: client.images.build(**given, tag=recipe.tag, rm=True), recipe.tag)
    log.info("built %s in %.1f s", recipe.tag, time.monotonic() - began)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The member as everybody may read it; nothing that Python has compiled."""
    if "__pycache__" in member.name.split("/"):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode |= 0o555 if member.isdir() else 0o444
    return member


def _try(make: Callable[[], T], what: str) -> T:
    try:
        return make()
    except BuildError as error:
        said = "".join(line.get("stream", "") for line in error.build_log)[-1500:]
        raise ClusterError(f"building {what} failed: {error.msg}\n{said}") from error
    except APIError as error:
        raise ClusterError(f"{what}: {error.explanation or error}") from error


def main() -> int:
    """Exit status: 0 all images are there, 1 one cannot be had, said in words."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        for name in for_compose(ensure_running()):
            print(name)
        print(compose.write_secrets(Settings.load().run_dir))
    except (ClusterError, LauncherError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
