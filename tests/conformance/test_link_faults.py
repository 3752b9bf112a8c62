"""Faults of links, on a real link: they show while they last, and leave nothing behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.faults.cut import Cut
from conformance.faults.kind import FaultNotProven
from conformance.faults.link import LinkFault
from conformance.faults.reset import Reset
from tests.conformance.one_link import LINK, OneLink, one_link


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OneLink]:
    with one_link(tmp_path) as cluster:
        yield cluster


@pytest.mark.parametrize("kind", [Cut(), Reset()], ids=lambda kind: str(kind.name))
async def test_a_fault_shows_while_it_lasts(cluster: OneLink, kind: LinkFault) -> None:
    assert not kind.shows(cluster.whole, LINK)
    injecting = asyncio.create_task(cluster.inject(kind))
    while not await asyncio.to_thread(kind.shows, cluster.whole, LINK):
        assert not injecting.done(), f"it was never {kind.effect}"
    assert (await injecting).startswith(f"{LINK} {kind.effect} for 3.")
    assert not kind.shows(cluster.whole, LINK)


async def test_a_connection_that_tells_nothing_proves_nothing(
    cluster: OneLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: str) -> socket.socket:
        raise TimeoutError

    monkeypatch.setattr(cluster, "connect", silent)
    with pytest.raises(FaultNotProven, match=f"not reset: {LINK}"):
        await cluster.inject(Reset())


def test_what_is_cut_was_not_done_and_what_is_reset_was(cluster: OneLink) -> None:
    cluster.cut(LINK)
    assert (Cut().shows(cluster.whole, LINK), cluster.asked) == (True, 0)
    cluster.restore(LINK)
    Reset().disturb(cluster.whole, LINK)
    assert (Reset().shows(cluster.whole, LINK), cluster.asked) == (True, 1)
