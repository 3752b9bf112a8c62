"""The real Dapr processes around stand-ins for the application and the witness."""

import sys
from collections.abc import Iterator

import pytest

from launcher import Settings, Stack

STANDIN = (sys.executable, "-m", "tests.launcher.standin")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests of a module: each leaves it ready."""
    settings = Settings.ephemeral(tmp_path_factory.mktemp("run"))
    with Stack(settings, app_command=STANDIN, downstream_command=STANDIN) as running:
        yield running
