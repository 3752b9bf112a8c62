"""Many at once on the default store: a queue, and no stall. `STEADFAST_BURST` says how many."""

from __future__ import annotations

import os
from collections import Counter

from tests.integration.test_ladder import ladder_totals
from tests.support.sagas import SAGAS
from tests.support.shop import Shop, some_id, until

BURST = int(os.environ.get("STEADFAST_BURST", "200"))
PATIENCE = 60 + BURST  # seconds; the store takes about six tasks a second


def test_a_burst_is_done_and_nobody_is_woken_in_vain(shop: Shop) -> None:
    before = ladder_totals(shop)
    tasks = next(saga for saga in SAGAS if saga.path == "/tasks")
    ids = [some_id("burst") for _ in range(BURST)]
    shop.start_all((tasks.body(id) for id in ids), "/tasks")
    left = set(ids)

    def all_ended() -> bool:
        left.difference_update(
            [id for id in list(left)[:50] if shop.look(id).get("status") == "ENDED"]
        )
        return not left

    until(all_ended, PATIENCE, "every task ended")
    assert Counter(shop.look(id)["outcome"] for id in ids) == {"DONE": BURST}
    after = ladder_totals(shop)
    for what in ("woken", "run_again", "given_up", "parked"):
        assert after.get(what, 0) == before.get(what, 0), what
    print(f"burst of {BURST}: {after}")
