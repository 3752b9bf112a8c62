"""What the engine is told to forget by itself, and what it leaves to the application."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from launcher.settings import ROOT, Settings
from launcher.stack import Stack
from tests.support.shop import Shop, some_id, until
from tests.support.tokens import token

KEPT = "720h"  # as components/config.yaml says it
SECONDS = 3


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose engine keeps for seconds what it should keep for a month."""
    folder = tmp_path_factory.mktemp("hasty")
    components = shutil.copytree(ROOT / "components", folder / "components")
    config = components / "config.yaml"
    config.write_text(config.read_text().replace(KEPT, f"{SECONDS}s"))
    with Stack(Settings.ephemeral(folder / "run", components=Path(components))) as running:
        yield running


def engine(stack: Stack, path: str, method: str = "GET") -> httpx.Response:
    headers = {"dapr-api-token": stack.secrets.dapr_api_token}
    url = f"{stack.dapr_http}/v1.0/workflows/dapr/{path}"
    return httpx.request(method, url, headers=headers, json={} if method == "POST" else None)


def status(stack: Stack, id: str) -> str | None:
    """As the engine has it; None when it knows nothing."""
    answer = engine(stack, id)
    return None if answer.status_code == 404 else str(answer.json()["runtimeStatus"])


def test_the_engine_forgets_what_failed_and_leaves_what_completed(hasty: Stack) -> None:
    operator = token(hasty, "op-1", "requester", "operator")
    shop = Shop(hasty.url, hasty.downstream_url).authorize(operator)
    good, stray = some_id("good"), some_id("stray")
    shop.start({"id": good, "title": "count the stock", "assignee": "p-3"}, "/tasks")
    assert shop.ended(good) == "DONE"
    until(lambda: status(hasty, good) == "COMPLETED", 10, "the engine has ended it")

    assert engine(hasty, f"no_such_kind/start?instanceID={stray}", "POST").status_code == 202
    until(lambda: status(hasty, stray) == "FAILED", SECONDS, "the engine knows no such kind")
    until(lambda: status(hasty, stray) is None, SECONDS + 10, "it was forgotten")
    assert status(hasty, good) == "COMPLETED"
    shop.http.close()
