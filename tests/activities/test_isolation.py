from __future__ import annotations

import asyncio

from activities.isolation import IsolationLock


async def settle() -> None:
    """Lets every task run as far as it can."""
    await asyncio.sleep(0.1)


async def test_a_suspect_waits_for_the_others_and_lets_nobody_in() -> None:
    isolation, log, leave = IsolationLock(), [], asyncio.Event()

    async def ordinary(name: str) -> None:
        async with isolation.pass_(None):
            log.append(f"+{name}")
            await leave.wait()
            log.append(f"-{name}")

    async def suspect() -> None:
        async with isolation.pass_(5) as passage:
            assert passage.alone
            log.append("+suspect")
            await settle()
            log.append("-suspect")

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(ordinary("a"))
        await settle()
        group.create_task(suspect())
        await settle()
        group.create_task(ordinary("b"))
        await settle()
        assert log == ["+a"]
        leave.set()
    assert log == ["+a", "-a", "+suspect", "-suspect", "+b", "-b"]


async def test_a_suspect_that_lasts_stops_nobody_and_is_no_longer_called_alone() -> None:
    isolation, company, passed = IsolationLock(), [], asyncio.Event()

    async def noted() -> None:
        company.append("others passed")

    async def ordinary() -> None:
        async with isolation.pass_(None):
            passed.set()

    async with asyncio.timeout(5), isolation.pass_(0.05) as passage:
        assert passage.alone
        passage.on_company = noted
        beside = asyncio.create_task(ordinary())
        await passed.wait()
        await beside
    assert company == ["others passed"]


async def test_a_suspect_does_not_wait_for_ever_for_a_provider_that_hangs() -> None:
    isolation = IsolationLock()
    async with asyncio.timeout(5), isolation.pass_(None), isolation.pass_(0.05) as passage:
        assert not passage.alone


async def test_a_cancelled_suspect_blocks_nobody() -> None:
    isolation = IsolationLock()

    async def suspect() -> None:
        async with isolation.pass_(30):
            raise AssertionError("it never passes")

    async with asyncio.timeout(5), isolation.pass_(None):
        waiting = asyncio.create_task(suspect())
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with isolation.pass_(None):
            pass


async def test_two_suspects_run_one_after_the_other() -> None:
    isolation, inside = IsolationLock(), 0

    async def suspect() -> None:
        nonlocal inside
        async with isolation.pass_(5):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(suspect())
