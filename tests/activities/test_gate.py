from __future__ import annotations

import asyncio

from activities.gate import Gate


async def settle() -> None:
    """Lets every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_suspect_waits_for_the_others_and_lets_nobody_in() -> None:
    gate, log, leave = Gate(), [], asyncio.Event()

    async def ordinary(name: str) -> None:
        async with gate.together():
            log.append(f"+{name}")
            await leave.wait()
            log.append(f"-{name}")

    async def suspect() -> None:
        async with gate.alone():
            log.append("+suspect")
            await settle()
            log.append("-suspect")

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(ordinary("a"))
        group.create_task(ordinary("b"))
        await settle()
        group.create_task(suspect())
        await settle()
        group.create_task(ordinary("c"))
        await settle()
        assert log == ["+a", "+b"]
        leave.set()
    assert log[2:] == ["-a", "-b", "+suspect", "-suspect", "+c", "-c"]


async def test_a_cancelled_suspect_blocks_nobody() -> None:
    gate = Gate()
    async with gate.together():
        suspect = asyncio.create_task(gate.alone().__aenter__())
        await settle()
        behind = asyncio.create_task(gate.together().__aenter__())
        await settle()
        assert not behind.done()
        suspect.cancel()
        async with asyncio.timeout(1):
            await behind
        assert suspect.cancelled()


async def test_two_suspects_run_one_after_the_other() -> None:
    gate, inside = Gate(), 0

    async def suspect() -> None:
        nonlocal inside
        async with gate.alone():
            inside += 1
            assert inside == 1
            await settle()
            inside -= 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(suspect())
