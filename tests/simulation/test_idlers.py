"""A loop that only polls sees in time what a date makes due, and polls no oftener."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from simulation.idlers import LONGEST, Found, Looks, Sweeps
from simulation.loop import Loop
from simulation.schedule import HOUR, Message, Misdelivery
from simulation.world import simulate
from tests.simulation.starts import one_order

QUERY = "SELECT records.id FROM records WHERE records.state = ? AND records.due_at < ?"
LEASE = "UPDATE leases SET holder=? WHERE leases.name = ?"
NOW = "1970-01-01 00:00:10.000000"


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop(lambda _: None)
    loop._now = 10.0
    monkeypatch.setattr(
        "simulation.idlers.clock.now", lambda: datetime.fromtimestamp(loop.time(), UTC)
    )
    return loop


class Rows:
    """A database of one row, or of none."""

    def __init__(self, date: str | None) -> None:
        self.date = date

    def next_date(self, table: str, column: str, after: str) -> str | None:
        assert (table, column) == ("records", "due_at")
        return self.date if self.date and self.date > after else None

    def finds(self, statement: str, parameters: Sequence[Any]) -> bool:
        return self.date is not None and self.date < parameters[1]

    def written_at(self, table: str) -> float:
        return 0.0


def sweeps(loop: Loop, date: str | None = None, seen: float = 0.0) -> Sweeps:
    return Sweeps(loop, Found(), Rows(date), lambda: seen)


def test_before_a_whole_sweep_nobody_pauses_longer(loop: Loop) -> None:
    one = sweeps(loop)
    one.asked(LEASE, ("me", "audit"))
    assert one.over()
    assert one.until(11.0) == 11.0


def test_a_sweep_that_found_nothing_need_not_be_repeated(loop: Loop) -> None:
    one = sweeps(loop)
    one.asked(QUERY, ("open", NOW))
    one.over()
    assert one.until(11.0) == 10.0 + LONGEST


def test_what_happens_during_a_sweep_may_have_escaped_it(loop: Loop) -> None:
    one = sweeps(loop)
    one.asked(QUERY, ("open", NOW))
    loop.active()
    one.over()
    assert one.until(11.0) == 11.0


def test_a_sweep_that_failed_is_repeated(loop: Loop) -> None:
    one = sweeps(loop)
    one.asked(QUERY, ("open", NOW))
    one.failed()
    one.over()
    assert one.until(11.0) == 11.0


def test_a_date_that_a_query_compares_with_the_clock_is_waited_for_no_longer(loop: Loop) -> None:
    one = sweeps(loop, date="1970-01-01 01:00:00.000000")
    one.asked(QUERY, ("open", "1970-01-01 00:00:00.000000"))  # what is due for ten seconds
    one.over()
    assert one.until(11.0) == pytest.approx(HOUR + 10, abs=0.3)
    loop._now = HOUR + 20
    assert one.until(11.0) <= loop.time(), "once it is past, it stays due until the loop polls"


def test_who_judges_rows_by_himself_looks_at_growing_intervals(loop: Loop) -> None:
    one = sweeps(loop)
    one.asked(QUERY, ("open", NOW))
    one.answered(QUERY)
    one.over()
    assert one.until(11.0) == 11.0
    loop._now = 400.0
    one.asked(QUERY, ("open", NOW))
    one.answered(QUERY)
    one.over()
    assert one.until(401.0) == 400.0 + 6 * 400.0


def test_when_a_date_has_come_that_is_something_that_happened(loop: Loop) -> None:
    loop._now = 500.0
    one = sweeps(loop)
    one.asked(QUERY, ("open", NOW))
    one.over()
    loop._now = 9_000.0
    for _ in range(2):
        one.asked(QUERY, ("open", NOW))
        one.answered(QUERY)
        one.over()
        assert one.until(9_005.0) == 9_005.0
    assert loop.active_at == 9_000.0


def test_a_page_that_is_empty_says_nothing_of_the_next_one(loop: Loop) -> None:
    loop._now = 100.0
    one = sweeps(loop)
    one.asked("SELECT records.id FROM records WHERE records.id > ?", ("order-9",))
    one.over()
    assert one.until(105.0) == 105.0


def test_a_page_from_the_beginning_is_the_next_one_too(loop: Loop) -> None:
    one = sweeps(loop)
    one.asked("SELECT records.id FROM records WHERE records.id > ? AND records.runs > ?", ("", 0))
    one.over()
    assert one.until(15.0) == 10.0 + LONGEST


def test_once_all_questions_are_answered_by_nothing_again_nothing_is_found(loop: Loop) -> None:
    rows = Rows("1970-01-01 00:00:05.000000")
    one = Sweeps(loop, Found(), rows)
    rows.date = None
    one.asked(QUERY, ("open", NOW))
    one.over()
    rows.date = "1970-01-01 00:00:15.000000"
    loop._now = 20.0
    one.asked(QUERY, ("open", "1970-01-01 00:00:20.000000"))
    one.answered(QUERY)
    one.over()
    assert one.until(25.0) == 25.0
    loop._now = 25.0
    assert one.until(25.0) == 25.0, "it is there still"
    rows.date = None
    assert one.until(25.0) > 25.0, "whatever the sweep did about it"


def test_who_carries_sweeps_on_while_he_does(loop: Loop) -> None:
    one = Sweeps(loop, Found(), Rows(None), carries=True)
    one.joined()
    one.joined()
    assert one.over()


def test_work_under_way_is_no_pause(loop: Loop) -> None:
    one = sweeps(loop)
    one.joined()
    one.joined()
    assert not one.over()
    one.left(None)
    assert one.over()


def test_a_watcher_looks_again_when_there_is_something_else_to_see(loop: Loop) -> None:
    state = "well"
    looks = Looks(loop, lambda: state)
    looks.looked()
    assert looks.until(10.5) == 10.0 + LONGEST
    state = "down"
    assert looks.until(10.5) == 10.5


@pytest.mark.parametrize(
    ("date", "again"), [("1970-01-01 00:01:00.000000", False), ("1970-01-01 00:00:15.000000", True)]
)
def test_what_happens_is_swept_for_when_it_concerns_the_sweep(
    loop: Loop, date: str, again: bool
) -> None:
    rows = Rows(None)
    one = Sweeps(loop, Found(), rows)
    one.asked(QUERY, ("open", NOW))
    one.over()
    loop._now = 20.0
    loop.active()
    rows.date = date
    loop._now = 21.0
    assert (one.until(21.0) == 21.0) is again


def test_what_the_store_does_not_know_is_swept_for_in_time(loop: Loop) -> None:
    one = sweeps(loop, seen=900.0)
    one.asked(QUERY, ("open", NOW))
    one.over()
    assert one.until(70.0) == 900.0
    loop._now = 900.0
    assert one.until(900.0) == 900.0


def test_a_lost_start_is_made_again_within_seconds() -> None:
    lost = Message(link="engine", fault="lose_request", path="start")
    result = simulate(one_order(lost, until=100.0))
    assert result.records["order-1"]["outcome"] == "FULFILLED"
    assert result.records["order-1"]["ended_at"] < "2027-01-15T08:00:20"


def test_the_ladder_goes_on_looking_for_as_long_as_it_is_patient() -> None:
    """The longest with one that was run again twice, and nothing happens meanwhile."""
    broken = [Misdelivery(item="turn", fault="failed", nth=nth) for nth in (3, 4)]
    lost = Misdelivery(item="activity", fault="lost", at=70.0)
    result = simulate(one_order(*broken, lost, until=HOUR))
    assert result.fired == [1, 1, 1]
    assert any("'given_up'" in line for line in result.log)
