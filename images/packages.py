"""The pinned Python packages that go into an image, laid out in a folder without a build network.

An image is built where there may be no network, so what it needs is put together here.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from images.shell import run
from launcher.settings import ROOT

PYTHON = (3, 11)
"""The Python of the images."""
INSTALL = 900.0  # seconds
OLDEST_GLIBC, NEWEST_GLIBC = 17, 36  # of the wheels that the images can use, as in 2.36


def dependencies() -> list[str]:
    """What the project itself requires; tools for developing it are not among it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared: list[str] = tomllib.load(file)["project"]["dependencies"]
    return declared


def lay_out(folder: Path) -> None:
    """Fills the folder with the packages of the project's dependencies, pinned and checked.

    Where this interpreter is of the images' kind, its own packages are copied, which were
    installed from requirements.lock; otherwise pip fetches the others.

    Raises:
        ImageError: pip fails; shows what it said.
    """
    folder.mkdir(parents=True)
    if sys.platform == "linux" and sys.version_info[:2] == PYTHON:
        for name in sorted(_closure()):
            _copy(importlib.metadata.distribution(name), folder)
    else:
        _fetch(folder)


def _closure() -> set[str]:
    found: set[str] = set()
    todo = [Requirement(each) for each in dependencies()]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        extras = wanted.extras or {""}
        if name in found and extras == {""}:
            continue
        found.add(name)
        for line in importlib.metadata.distribution(name).requires or ():
            required = Requirement(line)
            marker = required.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(required)
    return found


def _copy(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    for file in distribution.files or ():
        # Scripts are outside of the folder of packages, and are not called here.
        if file.suffix == ".pyc" or ".." in file.parts:
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), target)


def _fetch(folder: Path) -> None:
    architecture = platform.machine()
    tags = [f"manylinux_2_{minor}" for minor in range(OLDEST_GLIBC, NEWEST_GLIBC + 1)]
    wheels_for = ["--only-binary=:all:", f"--python-version={PYTHON[0]}.{PYTHON[1]}"]
    for tag in ("manylinux2014", *tags):
        wheels_for.append(f"--platform={tag}_{architecture}")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as wheels:
        lock = str(ROOT / "requirements.lock")
        checked = ["--require-hashes", "--no-deps", "-r", lock, f"--dest={wheels}"]
        run([*pip, "download", *wheels_for, *checked], INSTALL)
        # From the checked wheels only, whatever the environment says of other places.
        found = ["--no-index", f"--find-links={wheels}", f"--target={folder}", "--no-compile"]
        run([*pip, "--isolated", "install", *wheels_for, *found, *dependencies()], INSTALL)
