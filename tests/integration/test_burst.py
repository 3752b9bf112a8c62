"""Many at once on the default store: a queue, and no stall.

By default a few, with the patience of the other tests. With `STEADFAST_BURST=1500` so many, and
the application keeps every one of its defaults.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from launcher.settings import Settings
from launcher.stack import Stack
from tests.integration.test_ladder import ladder_totals
from tests.support.sagas import SAGAS, effect_keys
from tests.support.shop import Shop, some_id, until
from tests.support.tokens import token

ASKED = int(os.environ.get("STEADFAST_BURST", "0"))  # 0: a few, and impatient
BURST = ASKED or 200
IMPATIENT = {"STEADFAST_STALL_AFTER": "15", "STEADFAST_RECONCILE_INTERVAL": "1"}
PATIENCE = 60 + BURST  # seconds; the store takes about six tasks a second
TASKS = next(saga for saga in SAGAS if saga.path == "/tasks")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    settings = Settings.ephemeral(tmp_path_factory.mktemp("burst"))
    with Stack(settings, app_env={} if ASKED else IMPATIENT) as stack:
        stack.wait_ready()
        yield Shop(stack.url, stack.downstream_url).authorize(
            token(stack, "op-1", "operator", "requester")
        )


def body(id: str) -> dict[str, object]:
    """A task; of a big burst, one that keeps the default patience too."""
    impatient = TASKS.body(id)
    return {name: impatient[name] for name in impatient if name != "retry" or not ASKED}


def test_a_burst_is_done_and_nobody_is_woken_in_vain(shop: Shop) -> None:
    began, ids = time.monotonic(), [some_id("burst") for _ in range(BURST)]
    shop.start_all((body(id) for id in ids), "/tasks")
    accepted, left = time.monotonic() - began, set(ids)

    def all_ended() -> bool:
        left.difference_update(
            [id for id in list(left)[:50] if shop.look(id).get("status") == "ENDED"]
        )
        return not left

    until(all_ended, PATIENCE, "every task ended")
    print(f"{BURST}: accepted in {accepted:.0f} s, ended after {time.monotonic() - began:.0f} s")
    assert Counter(shop.look(id)["outcome"] for id in ids) == {"DONE": BURST}
    totals = ladder_totals(shop)
    for what in ("woken", "run_again", "given_up", "parked"):
        assert totals.get(what, 0) == 0, totals
    assert shop.http.get(f"{shop.url}/interventions?status=all").json()["items"] == []
    assert [id for id in ids if sorted(effect_keys(shop, id)) != sorted(TASKS.steps)] == []
