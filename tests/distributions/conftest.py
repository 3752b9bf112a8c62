"""The wheels as they would be published, and an environment that has nothing but the suite's."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from launcher.runtime import BUILT
from launcher.settings import ROOT

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
DEADLINE = 300  # seconds for pip, on a machine that has fetched none of it yet


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    trees = (str(ROOT), str(ROOT / "distributions" / "conformance"))
    build = [*PIP, "wheel", "--no-deps", f"--wheel-dir={folder}", *trees]
    subprocess.run(build, check=True, timeout=DEADLINE)
    return folder


@pytest.fixture(scope="session")
def installed(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment with the suite, what it needs, and pytest."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, symlinks=True)
    (suite,) = wheels.glob("steadfast_conformance-*.whl")
    wanted = (str(suite), f"pytest=={version('pytest')}")
    install = [*PIP, f"--python={home / 'bin' / 'python'}", "install", "--no-compile", *wanted]
    subprocess.run(install, check=True, timeout=DEADLINE)
    return home / "bin"


@pytest.fixture
def elsewhere() -> dict[str, str]:
    """The environment of somebody who has no checkout, and has built the runtime before."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**inherited, "CONFORMANCE_RUNTIME": str(BUILT)}
