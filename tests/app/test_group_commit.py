"""What many want at about the same time is done together, and nobody waits for a timer."""

import asyncio
from collections.abc import Sequence

import pytest

from store.group_commit import MOST, GroupCommit


class Work:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open, self.begun = asyncio.Event(), asyncio.Event()

    async def __call__(self, wanted: Sequence[int]) -> list[int]:
        self.batches.append(list(wanted))
        self.begun.set()
        await self.open.wait()
        if 13 in wanted:
            raise ValueError("unlucky")
        return [2 * each for each in wanted]


async def test_what_arrives_while_one_is_under_way_is_done_together() -> None:
    work = Work()
    group = GroupCommit(work)
    asked = [asyncio.create_task(group(0))]
    await work.begun.wait()
    asked += [asyncio.create_task(group(number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    work.open.set()
    assert await asyncio.gather(*asked) == [0, 2, 4, 6, 8, 10]
    assert work.batches == [[0], [1, 2, 3, 4, 5]]


async def test_a_crowd_is_cut_into_transactions_that_end() -> None:
    work = Work()
    work.open.set()
    group = GroupCommit(work)
    numbers = range(100, 100 + 2 * MOST)
    assert await asyncio.gather(*map(group, numbers)) == [2 * each for each in numbers]
    assert [len(batch) for batch in work.batches] == [MOST, MOST]


async def test_a_failure_is_everybody_s_and_the_next_ones_are_served() -> None:
    work = Work()
    work.open.set()
    group = GroupCommit(work)
    failed = await asyncio.gather(group(13), group(1), return_exceptions=True)
    assert [type(each) for each in failed] == [ValueError, ValueError]
    assert await group(2) == 4


async def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    work = Work()
    group = GroupCommit(work)
    first, second = asyncio.create_task(group(1)), asyncio.create_task(group(2))
    await work.begun.wait()
    first.cancel()
    work.open.set()
    assert await second == 4
    with pytest.raises(asyncio.CancelledError):
        await first
