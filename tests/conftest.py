"""Two workers share the tests: most of them wait for something that takes its time."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Whatever uses the Docker daemon stays on one worker, whose load it is; and Docker 20.10 miscounts
# the members of a network when containers are started side by side.
ON_DOCKER = ("test_matrix.py", "test_containers.py", "test_compose.py", "test_leftovers.py")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Each file stays on one worker, because its fixtures are expensive.

    xdist's own groups (`--dist loadgroup`) do nothing with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "docker" if PurePath(file).name in ON_DOCKER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)
