"""One real stack for all tests: placement, scheduler, daprd, the witness and the application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from launcher.settings import Settings
from launcher.stack import Stack
from tests.support.shop import Shop
from tests.support.tokens import token


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = Settings.ephemeral(tmp_path_factory.mktemp("stack"))
    # Patience in seconds where the default is half a minute and more.
    env = {"STEADFAST_STALL_AFTER": "15", "STEADFAST_RECONCILE_INTERVAL": "1"}
    with Stack(settings, app_env=env) as running:
        yield running


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    stack.wait_ready()
    visitor = Shop(stack.url, stack.downstream_url).authorize(token(stack, "op-1", "operator"))
    yield visitor
    visitor.http.delete(f"{stack.downstream_url}/script")
    visitor.http.close()
    stack.unhold("app")  # whatever a failed test has left down
