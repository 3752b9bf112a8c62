"""A store that is away, or that answers nothing at all: said at once, and never waited for long."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.worker import Worker
from launcher.postgres import Postgres, temporary
from store import Store, StoreAway, attempts, records, unavailable
from tests.support.site import Site, bearer, site

SECONDS = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with temporary() as running:
        yield running


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(int(child) for child in children)]


@pytest.fixture
async def office(server: Postgres, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    name = f"o{abs(hash(request.node.name))}"
    url = "postgresql+asyncpg://" + server.create_database(name).partition("://")[2]
    async with site(url, store_timeout=SECONDS) as made:
        yield made


@pytest.fixture
def deaf(office: Site, server: Postgres) -> Iterator[None]:
    """Every process of the server is stopped: connections stand, and nothing is answered."""
    processes = family(server.pid)
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in processes:
        os.kill(pid, signal.SIGCONT)


async def look(office: Site, path: str) -> tuple[Any, float]:
    begun = time.monotonic()
    answer = await office.http.get(path, headers=bearer("op-1", "operator"))
    return answer, time.monotonic() - begun


async def test_a_store_that_answers_nothing_is_not_waited_for(office: Site, deaf: None) -> None:
    for path in ("/workflows", "/workflows/order-1", "/interventions"):
        answer, lasted = await look(office, path)
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"].endswith("/store-unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert lasted < 5 * SECONDS
    answer, lasted = await look(office, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["store", "sidecar"]
    assert int(answer.headers["retry-after"]) > 0
    assert lasted < 5 * SECONDS


async def test_whoever_is_in_the_middle_of_a_transaction_gives_up_too(
    office: Site, server: Postgres
) -> None:
    processes: list[int] = []

    async def stuck() -> None:
        async with office.store.transaction() as tx:
            await records.get(tx, "order-1")
            processes.extend(family(server.pid))
            for pid in processes:
                os.kill(pid, signal.SIGSTOP)
            await records.get(tx, "order-1")

    begun = time.monotonic()
    try:
        with pytest.raises(StoreAway):
            await stuck()
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - begun < 5 * SECONDS
    answer, _ = await look(office, "/workflows")
    assert answer.status_code == 200, "it is back"


async def test_a_lock_is_not_waited_for_for_ever(office: Site) -> None:
    made = await office.http.post(
        "/tasks",
        json={"id": "task-1", "title": "t", "assignee": "a"},
        headers=bearer("r-1", "requester"),
    )
    assert made.status_code == 202

    async def lock() -> None:
        async with office.store.transaction() as tx:
            await records.get(tx, "task-1", lock=True)

    async with office.store.transaction() as tx:
        await records.get(tx, "task-1", lock=True)
        with pytest.raises(StoreAway) as refused:
            async with asyncio.timeout(5 * SECONDS):
                await lock()
    assert unavailable(refused.value)


async def test_a_store_that_is_gone_is_a_problem_document(server: Postgres) -> None:
    url = "postgresql+asyncpg://" + server.create_database("gone").partition("://")[2]
    async with site(url, store_timeout=SECONDS) as office:
        nowhere = url.replace(f":{server.port}/", ":9/")
        await office.store.close()
        office.store.engine = Store(nowhere, timeout=SECONDS).engine
        answer, _ = await look(office, "/workflows")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"


async def both(store: Store) -> None:
    async with store.reading() as tx:
        await records.get(tx, "order-1")
        await attempts.tried(tx, "order-1")


@pytest.mark.parametrize(
    "lost",
    [
        "ALTER TABLE records RENAME TO elsewhere",
        "ALTER TABLE attempts RENAME TO elsewhere",
        "ALTER TABLE records RENAME COLUMN runs TO elsewhere",
    ],
)
async def test_a_store_that_has_lost_something_is_away_and_known_to_be(
    database_url: str, lost: str
) -> None:
    async with site(database_url) as office:
        answer, _ = await look(office, "/readyz")
        assert answer.json()["missing"] == ["sidecar"]
        async with office.store.transaction() as tx:
            await tx.exec_driver_sql(lost)
        answer, _ = await look(office, "/readyz")
        assert answer.status_code == 503
        assert answer.json()["missing"] == ["store", "sidecar"]
        with pytest.raises(StoreAway):
            await both(office.store)


async def test_a_mistake_of_ours_is_not_an_outage(office: Site) -> None:
    async with office.store.transaction() as tx:
        with pytest.raises(Exception, match="nowhere") as error:
            await tx.exec_driver_sql("SELECT * FORM nowhere")
    assert not unavailable(error.value)


async def test_what_has_ended_by_itself_makes_the_process_not_alive(office: Site) -> None:
    assert (await look(office, "/livez"))[0].status_code == 200
    office.http._transport.app.state.ended = lambda: ["Relay.run"]  # type: ignore[attr-defined]
    answer, _ = await look(office, "/livez")
    assert answer.status_code == 503
    assert "Relay.run" in answer.json()["detail"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_worker_whose_thread_has_ended_is_noticed(office: Site) -> None:
    def broken() -> bool:
        raise RuntimeError("not foreseen")

    worker = Worker(office.services.settings, broken)
    worker.start()
    async with asyncio.timeout(10):
        await asyncio.to_thread(worker._thread.join)
    assert worker.ended()
    worker._stopping.set()
    assert not worker.ended(), "it was asked to"


END_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


async def reads(store: Store) -> None:
    async with store.reading() as tx:
        await records.get(tx, "order-1")


@pytest.mark.parametrize(("idle", "failures"), [(0.0, 0), (60.0, 1)])
async def test_after_a_restart_of_the_server_one_call_fails_at_most(
    office: Site, monkeypatch: pytest.MonkeyPatch, idle: float, failures: int
) -> None:
    """And none, if the connections were idle: they are asked whether they live."""
    monkeypatch.setattr("store.IDLE", idle)
    await asyncio.gather(*(reads(office.store) for _ in range(8)))
    other = Store(office.store.url)
    async with other.reading() as tx:
        await tx.execute(text(END_OTHERS))
    await other.close()
    failed = 0
    for _ in range(8):
        try:
            await reads(office.store)
        except StoreAway:
            failed += 1
    assert failed == failures
