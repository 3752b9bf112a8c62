"""Many at once, in a third of the engine that they need: a queue is no stall.

A hundred orders by default; `STEADFAST_CROWD` says how many, and 20,000 have been seen to pass.
"""

from __future__ import annotations

import os

from simulation.schedule import Schedule
from simulation.world import simulate
from tests.simulation.starts import an_order, one_order

MANY = int(os.environ.get("STEADFAST_CROWD", "100"))
RATE = 20.0  # orders that are accepted in a second
SHARE = 1 / 3  # of the work that these are, as the engine gets it done


def items_of_an_order() -> int:
    counts = simulate(one_order()).counts
    return counts["at turn"] + counts["at activity"]


def test_a_crowd_of_orders_in_a_third_of_the_engine_is_served_and_nobody_is_touched() -> None:
    calls = tuple(an_order(f"order-{n}", at=1.0 + n / RATE) for n in range(MANY))
    result = simulate(Schedule(calls=calls, capacity=RATE * items_of_an_order() * SHARE))
    assert result.settled
    assert {one["outcome"] for one in result.records.values()} == {"FULFILLED"}
    assert len(result.records) == MANY
    touched = [line for line in result.log if "reconciler" in line or "intervention" in line]
    assert (touched, result.interventions) == ([], [])
    charged = [one["key"] for one in result.effects if one["operation"] == "payment.charge"]
    assert len(charged) == len(set(charged)) == MANY
    assert result.lasted > MANY / RATE / SHARE * 0.8, "there was no queue"
