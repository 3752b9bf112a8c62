"""The images that ours are built from: public ones, or one made of Debian's packages.

Where no registry answers, one root file system with Python and the servers serves as all of them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from images import ImageError
from images.debian import install
from images.shell import PATH, only_one, run
from launcher.runtime import BUILT
from launcher.settings import ROOT

log = logging.getLogger(__name__)

DOCKERFILES = ROOT / "images"
RELEASE = "bookworm"  # its Python is 3.11, its PostgreSQL is 15, its Redis is 7
ASK = 15  # seconds for a registry to say whether it is there
MAKE = 1200.0  # seconds for debootstrap
LEFT_OUT = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/lib/postgresql/*",
    "./usr/share/doc/*",
    "./usr/share/i18n/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    # Only for compiling queries just in time, which PostgreSQL does without where they are missing.
    "./usr/lib/*/libLLVM-*",
    "./usr/lib/*/libz3.so*",
    "./usr/lib/postgresql/*/lib/llvmjit.so",
    "./usr/lib/postgresql/*/lib/bitcode/*",
)
# Written before anything is installed. If the power fails, the folder is made again.
DPKG = "force-unsafe-io\n"


def made_of_debian() -> dict[str, str]:
    """The package of Debian that each image needs, by name; as `ARG DEBIAN` of its Dockerfile says.

    Of several packages one base is made, in which they all are.
    """
    found = {}
    for file in sorted(DOCKERFILES.glob("*.Dockerfile")):
        if package := _default(file, "DEBIAN"):
            found[file.stem] = package
    return found


def base(client: docker.DockerClient, name: str) -> str:
    """The image from which the one of this name starts.

    The first of: what `STEADFAST_BASE_<NAME>` names, the public one of its Dockerfile's `ARG BASE`
    if it is here, the one made before, the public one pulled, one made now.

    Raises:
        ImageError: there is none and none can be made.
    """
    made = _made_name()
    if named := os.environ.get(f"STEADFAST_BASE_{name.upper()}"):
        return named
    public = _default(DOCKERFILES / f"{name}.Dockerfile", "BASE")
    for name in (public, made):
        if exists(client, name):
            return name
    if _pulled(client, public):
        return public
    with only_one("base"):
        if not exists(client, made):
            _make(client, made)
    return made


def exists(client: docker.DockerClient, name: str) -> bool:
    """Whether the daemon has the image."""
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _default(dockerfile: Path, argument: str) -> str:
    found = re.search(rf"^ARG {argument}=(\S+)$", dockerfile.read_text("utf-8"), re.M)
    return found[1] if found else ""


def _made_name() -> str:
    recipe = repr((RELEASE, made_of_debian(), LEFT_OUT))
    return f"steadfast-base:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def _pulled(client: docker.DockerClient, name: str) -> bool:
    """Whether a registry answered and gave the image."""
    asking = docker.from_env(version="auto", timeout=ASK)
    try:
        asking.images.get_registry_data(name)
        log.info("pulling %s", name)
        client.images.pull(name)
    except (DockerException, OSError) as error:
        log.info("%s cannot be pulled: %s", name, getattr(error, "explanation", None) or error)
        return False
    finally:
        asking.close()
    return True


def _make(client: docker.DockerClient, name: str) -> None:
    if os.geteuid() != 0:
        raise ImageError(f"no registry answers, and making {name} needs root")
    if shutil.which("debootstrap", path=PATH) is None:
        install("debootstrap")
    log.info("making %s from Debian's packages", name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=BUILT, prefix="base-") as folder:
        settings = Path(folder) / "etc" / "dpkg" / "dpkg.cfg.d"
        settings.mkdir(parents=True)
        (settings / "fast").write_text(DPKG)
        run(
            [
                "debootstrap",
                "--variant=minbase",
                f"--include={','.join(made_of_debian().values())}",
                RELEASE,
                folder,
            ],
            MAKE,
            env={**os.environ, "PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"},
        )
        _import(client, folder, name)
    log.info("made %s in %.0f s", name, time.monotonic() - began)


def _import(client: docker.DockerClient, folder: str, name: str) -> None:
    left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    repository, tag = name.split(":")
    command = ["tar", "--create", "--numeric-owner", *left_out, f"--directory={folder}", "."]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
        try:
            client.api.import_image_from_stream(
                tar.stdout, repository=repository, tag=tag, changes=['CMD ["/bin/sh"]']
            )
        except APIError as error:
            tar.kill()
            raise ImageError(f"importing {name}: {error.explanation}") from error
    if tar.returncode != 0:
        client.images.remove(name, force=True)
        raise ImageError(f"tar failed with {tar.returncode} while making {name}")
