"""Three workers share the tests: most of them wait for something that takes its time."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Whatever uses the Docker daemon stays on one worker, whose load it is; and Docker 20.10 miscounts
# the members of a network when containers are started side by side.
ON_DOCKER = ("test_matrix.py", "test_containers.py", "test_compose.py", "test_leftovers.py")
# What one worker needs for longest begins first, and what takes seconds fills the gaps at the end.
ORDER = ("docker", "integration", "conformance", "distributions", "simulation", "launcher")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Each file stays on one worker, because its fixtures are expensive; some go together.

    xdist's own groups (`--dist loadgroup`) do nothing with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = PurePath(nodeid.partition("::")[0])
        if file.name in ON_DOCKER:
            return "docker"
        # One stack serves all of them.
        return "integration" if file.parent.name == "integration" else str(file)

    def _assign_work_unit(self, node: Any) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=_rank), last=False)
        super()._assign_work_unit(node)


def _rank(scope: str) -> int:
    ranks = [n for n, name in enumerate(ORDER) if name in PurePath(scope).parts]
    return min(ranks, default=len(ORDER))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)
