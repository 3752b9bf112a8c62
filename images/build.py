"""The images, built here: named after what is in them, and after who looks for them."""

from __future__ import annotations

import hashlib
import logging
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

from conformance.clusters.images import stand_in
from images import ImageError
from images import packages as python_packages
from images.bases import DOCKERFILES, base, exists, made_of_debian
from images.shell import only_one
from launcher.errors import LauncherError
from launcher.runtime import CORE, TOOLS, find_or_build
from launcher.settings import ROOT, Settings

log = logging.getLogger(__name__)

SOURCE = (
    "activities",
    "app",
    "components",
    "downstream",
    "launcher",
    "store",
    "workflows",
)
PREFIX = "steadfast-build-"
BINARIES = (*CORE, "toxiproxy")
T = TypeVar("T")
Context = Mapping[str, Path]
"""What a Dockerfile may copy: files and folders by the name that it uses."""


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


def build_all(client: docker.DockerClient) -> list[str]:
    """Builds what is not there, and returns the names under which it is looked for.

    Raises:
        ImageError: a build failed; says what it said.
    """
    names = [name for name in made_of_debian() if name != "python"]
    recipes = [_dapr(), _python(client), *(_server(client, name) for name in names)]
    with ThreadPoolExecutor(len(recipes)) as pool:
        dapr, python, *servers = pool.map(lambda recipe: _have(client, recipe), recipes)
    of_suite = {"dapr": dapr, "toxiproxy": dapr, "python": python}
    of_suite |= dict(zip(names, servers, strict=True))
    tags = {stand_in(name): image for name, image in of_suite.items()} | {
        "steadfast:local": _have(client, _source(client, python)),
        "steadfast-dapr:local": dapr,
        "steadfast-postgres:local": of_suite["postgres"],
    }
    for tag, image in tags.items():
        client.images.get(image).tag(tag)
    return list(tags)


def _dapr() -> Recipe:
    try:
        binaries = find_or_build(BINARIES, Settings.load().dapr_bin)
    except LauncherError as error:
        raise ImageError(str(error)) from error
    stamps = [TOOLS[name].stamp for name in BINARIES]
    # A folder that was named may have anything in it.
    sizes = [
        f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in binaries.values()
    ]

    def context(draft: Path) -> Context:
        folders = {name: draft / name for name in ("data", "tmp")}
        for folder in folders.values():
            folder.mkdir()
            folder.chmod(0o1777)
        return {f"root/{name}": path for name, path in {**binaries, **folders}.items()}

    return Recipe("dapr", (*stamps, *sizes), context)


def _python(client: docker.DockerClient) -> Recipe:
    start = base(client, "python")
    locked = (ROOT / "requirements.lock").read_text("utf-8")

    def context(draft: Path) -> Context:
        python_packages.lay_out(draft / "packages")
        return {"packages": draft / "packages"}

    wanted = (_identity(client, start), locked, *python_packages.dependencies())
    return Recipe("python", wanted, context, start)


def _server(client: docker.DockerClient, name: str) -> Recipe:
    start = base(client, name)
    scripts = {script.name: script for script in DOCKERFILES.glob(f"{name}.sh")}
    wanted = (_identity(client, start), *(each.read_text("utf-8") for each in scripts.values()))
    return Recipe(name, wanted, lambda _: scripts, start)


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
        raise ImageError(f"building {what} failed: {error.msg}\n{said}") from error
    except APIError as error:
        raise ImageError(f"{what}: {error.explanation or error}") from error
