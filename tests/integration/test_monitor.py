"""Monitors on the real runtime: killed for ever, told things all the time, and never any larger."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from activities.signed_controls import SignedControl
from launcher.stack import Stack
from tests.support.shop import Shop, some_id, until

GENERATIONS = int(os.environ.get("STEADFAST_MONITOR_GENERATIONS", "150"))
KILL_EVERY = 50
VICTIMS = ("app", "daprd", "scheduler", "placement", "downstream")
SEED = 11
CYCLE = "++++-+++--+++----+++"  # three incidents, one of them critical
PATIENCE = 150  # seconds without a check; a killed scheduler takes 25, the ladder 15 more a step

ROWS = """
SELECT count(*), coalesce(sum(length(key) + length(value)), 0) FROM state
WHERE instr(key, '||' || ? || '||') AND key LIKE ?
"""


class Service:
    """The checked service. Its health is scripted by the round that the monitor's store is in."""

    def __init__(self, stack: Stack) -> None:
        # As they are when a round's check has been asked for and not been answered: what is
        # carried from one generation to the next shows at any fixed point of a generation.
        self.sizes: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._books = stack.settings.data_dir / "app.db"
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                id = self.path.strip("/")
                generation = service.generation(id)
                service.sizes.setdefault((id, generation), size(stack, id))
                self.send_response(200 if CYCLE[generation % len(CYCLE)] == "+" else 503)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, id: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{id}"

    def generation(self, id: str) -> int:
        """The round that was compared last."""
        with closing(sqlite3.connect(self._books, timeout=30)) as books:
            row = books.execute("SELECT generation FROM monitors WHERE id = ?", (id,)).fetchone()
        return int(row[0]) if row else 0


@pytest.fixture
def service(stack: Stack) -> Iterator[Service]:
    made = Service(stack)
    yield made
    made.server.shutdown()
    made.server.server_close()


def monitor(service: Service, id: str, **changes: Any) -> dict[str, Any]:
    quick = {"healthy_interval": 0.05, "unhealthy_interval": 0.05, "retry": {"cap": 1}}
    every = {"damping": {"within": 0}}  # else it would be told once that it flaps
    return {"id": id, "url": service.url(id), **quick, **every, **changes}


def scripted(id: str, generations: int) -> list[str]:
    """The keys of the alerts of that many checks."""
    expected, n, failures = [], 0, 0
    for generation in range(generations):
        if CYCLE[generation % len(CYCLE)] == "-":
            failures += 1
            n += failures == 1
            what = {1: "warning", 3: "critical"}.get(failures)
        else:
            what, failures = ("recovery" if failures else None), 0
        if what:
            expected.append(f"{id}/incident/{n}/{what}")
    return expected


def alerts(shop: Shop, id: str) -> list[str]:
    keys = [effect["key"] for effect in shop.ledger(id)["effects"]]
    return [key for key in keys if "/incident/" in key]


def engine_name(stack: Stack, id: str) -> str:
    with closing(sqlite3.connect(stack.settings.data_dir / "app.db", timeout=30)) as books:
        row = books.execute("SELECT engine_id FROM records WHERE id = ?", (id,)).fetchone()
    return str(row[0]) if row else id


def size(stack: Stack, id: str) -> tuple[int, int, int]:
    """Events of the history, bytes in the engine's store, bytes of our own rows but incidents."""
    folder = stack.settings.data_dir
    # The engine's name for it: not the id once the ladder had to leave a burnt name behind.
    name = engine_name(stack, id)
    with closing(sqlite3.connect(folder / "state.db", timeout=30)) as engine:
        events, _ = engine.execute(ROWS, (name, "%||history-%")).fetchone()
        _, stored = engine.execute(ROWS, (name, "%")).fetchone()
    ours = 0
    with closing(sqlite3.connect(folder / "app.db", timeout=30)) as books:
        for table, column in [
            ("records", "id"),
            ("monitors", "id"),
            ("inbox", "instance"),
            ("waits", "instance"),
            ("attempts", "instance"),
            ("interventions", "instance"),
        ]:
            rows = books.execute(f"SELECT * FROM {table} WHERE {column} = ?", (id,))
            ours += sum(len(str(value)) for row in rows for value in row if value is not None)
    return int(events), int(stored), ours


def reach(service: Service, id: str, generation: int) -> None:
    until(lambda: service.generation(id) >= generation, PATIENCE, f"generation {generation}")


def largest(service: Service, id: str, first: int) -> tuple[int, ...]:
    """The largest sizes during the checks of one pass through the script."""
    reach(service, id, first + len(CYCLE))
    rounds = [service.sizes[id, generation] for generation in range(first, first + len(CYCLE))]
    return tuple(max(sizes) for sizes in zip(*rounds, strict=True))


def kill_every_fifty(stack: Stack, service: Service, id: str, last: int) -> list[str]:
    dice, killed = random.Random(SEED), []
    for generation in range(KILL_EVERY, last, KILL_EVERY):
        reach(service, id, generation)
        victim = dice.choice(VICTIMS)
        old = stack.kill(victim)
        stack.wait_restarted(victim, old, timeout=60)
        killed.append(victim)
    return killed


def test_the_alerts_of_the_script_and_no_growth_whatever_is_killed(
    shop: Shop, stack: Stack, service: Service
) -> None:
    id, started = some_id("monitor"), time.monotonic()
    assert shop.start(monitor(service, id), "/monitors") == shop.start(
        monitor(service, id), "/monitors"
    )
    young = largest(service, id, 20)
    killed = kill_every_fifty(stack, service, id, GENERATIONS)
    old = largest(service, id, GENERATIONS)
    assert shop.post(f"/monitors/{id}/control", {"action": "stop"}).status_code == 202
    assert shop.ended(id, PATIENCE) == "STOPPED"
    generations = service.generation(id)
    attempts = [a for a in shop.ledger(id)["attempts"] if "/incident/" in a["key"]]
    print(
        f"\n{engine_name(stack, id)}: {generations} generations, "
        f"{time.monotonic() - started:.0f} s, killed {killed}; "
        f"(events, bytes in the engine, bytes of ours) at 20: {young}, at the end: {old}; "
        f"{len(alerts(shop, id))} alerts in {len(attempts)} requests"
    )
    assert alerts(shop, id) == scripted(id, generations)
    assert len(killed) == (GENERATIONS - 1) // KILL_EVERY
    assert young[0] > 5, "the history was looked for in the wrong place"
    for before, after in zip(young, old, strict=True):
        assert after > before / 2, "what was measured is not the running instance"
        assert after <= before * 1.1
    items = shop.http.get(f"{shop.url}/monitors/{id}/incidents?limit=200").json()["items"]
    assert [item["n"] for item in items] == list(range(1, len(items) + 1))


def signed(stack: Stack, id: str, body: dict[str, Any]) -> dict[str, Any]:
    """A control as it counts when it is raised past the API."""
    unsigned = SignedControl(**body, by="op-1", expires=int(time.time()) + 600, signature="")
    signature = unsigned.expected(stack.secrets.decision_key, id)
    made = unsigned.model_copy(update={"signature": signature})
    return made.model_dump(mode="json", exclude_none=True)


def test_three_hundred_controls_while_it_continues_as_new(
    shop: Shop, stack: Stack, service: Service
) -> None:
    """Half through the API, half raised on the engine itself, some of each twice."""
    id, dice = some_id("monitor"), random.Random(SEED)
    shop.start(monitor(service, id), "/monitors")
    until(lambda: service.generation(id) > 2, 30, "it is under way")
    headers = {"dapr-api-token": stack.secrets.dapr_api_token}
    raise_url = f"{stack.dapr_http}/v1.0/workflows/dapr/{id}/raiseEvent/control"

    def tell(number: int) -> None:
        action = ("pause", "resume", "update")[number % 3]
        body: dict[str, Any] = {"action": action, "event_id": f"evt-{number}"}
        if action == "update":
            body["settings"] = {"critical_after": 1 + number}
        for _ in range(1 + (number % 10 == 0)):
            if number % 2:
                answer = shop.http.post(raise_url, json=signed(stack, id, body), headers=headers)
            else:
                answer = shop.post(f"/monitors/{id}/control", body)
            assert answer.status_code == 202, answer.text
        time.sleep(dice.random() / 20)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tell, range(299)))

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = shop.http.get(f"{shop.url}/monitors/{id}").json()
        return found

    until(lambda: seen()["controls"] == 299, 60, "all are applied")
    at = service.generation(id)
    assert shop.post(f"/monitors/{id}/control", {"action": "resume"}).status_code == 202
    until(lambda: service.generation(id) > at + 5, 30, "it goes on")
    assert (seen()["controls"], seen()["paused"]) == (300, False)
    assert shop.post(f"/workflows/{id}/cancel", None).status_code == 202
    assert shop.ended(id) == "STOPPED"
    assert seen()["controls"] == 301
    again = shop.post(f"/monitors/{id}/control", {"action": "resume"})
    assert again.status_code == 409


def test_starts_and_controls_that_make_no_sense(shop: Shop, service: Service) -> None:
    id = some_id("monitor")
    for wrong in ("file:///etc/passwd", "http://user:secret@host/", "host", "http://", "x" * 2000):
        assert shop.post("/monitors", monitor(service, id, url=wrong)).status_code == 422
    for name in ("healthy_interval", "check_timeout", "critical_after"):
        assert shop.post("/monitors", monitor(service, id, **{name: 0})).status_code == 422
    shop.start(monitor(service, id), "/monitors")
    for body in ({}, {"action": "explode"}, {"action": "update"}, {"action": "stop", "x": 1}):
        assert shop.post(f"/monitors/{id}/control", body).status_code == 422
    assert shop.post("/monitors/nobody/control", {"action": "stop"}).status_code == 404
    assert shop.post(f"/monitors/{id}/control", {"action": "stop"}).status_code == 202
    assert shop.ended(id) == "STOPPED"


def test_the_url_is_the_identity_of_a_monitor_without_id_and_key(
    shop: Shop, service: Service
) -> None:
    body = monitor(service, "")
    del body["id"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: shop.post("/monitors", body), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    (id,) = {answer.json()["id"] for answer in answers}
    assert shop.post("/monitors", {**body, "critical_after": 9}).status_code == 422
    assert shop.post(f"/workflows/{id}/cancel", None).status_code == 202
    assert shop.ended(id) == "STOPPED"
