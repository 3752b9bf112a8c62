"""Who gets in, what an approval may be given without, and how long one may try."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from app.links import link_for
from app.main import ROUTES
from store import audit_trail, interventions, records
from tests.support.site import KEY, Site, bearer, site
from workflows.approval import Rules

# Signed by a provider, signed by us, or nothing that is anybody's secret.
OPEN = {"/livez", "/readyz", "/metrics", "/webhooks/{source}", "/approvals/{id}/decide"}
REQUEST = {"id": "request-1", "title": "a press", "action": "buy"}


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as made:
        yield made


def ways_in() -> Iterator[tuple[str, str]]:
    for module in ROUTES:
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            if route.path not in OPEN:
                yield from ((method, route.path) for method in sorted(route.methods or ()))


@pytest.mark.parametrize(("method", "path"), list(ways_in()))
async def test_nobody_gets_in_without_a_token(office: Site, method: str, path: str) -> None:
    address = path.replace("{id:path}", "order-1/charge/1").replace("{id}", "order-1")
    absurd = {"Authorization": "Bearer x"}
    forged = bearer("op-1", "operator", key="x" * 32)
    for headers in ({}, absurd, forged):
        answer = await office.http.request(method, address, json={}, headers=headers)
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
    if path != "/approvals/{id}/decision":  # which is judged together with its body
        nobody = await office.http.request(method, address, json={}, headers=bearer("x-1"))
        assert nobody.status_code == 403


async def test_a_key_is_changed_without_locking_anybody_out(tmp_path: Path) -> None:
    keys = {"k-1": {"secret": KEY}, "k-2": {"secret": "n" * 32}}
    async with site(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}", jwt_keys=keys) as office:
        for headers, status in (
            (bearer("a", "requester"), 200),
            (bearer("a", "requester", kid="k-2", key="n" * 32), 200),
            (bearer("a", "requester", kid="k-2"), 401),
        ):
            answer = await office.http.get("/workflows", headers=headers)
            assert answer.status_code == status


@pytest.mark.parametrize(
    ("rules", "request_", "automatic"),
    [
        ({}, {"amount": 99_999}, True),
        ({}, {"amount": 100_000}, False),
        ({}, {"amount": 100_000, "priority": "low"}, False),
        ({}, {"priority": "low"}, False),
        ({}, {}, False),
        ({"amount_free": ["tidy"]}, {"action": "tidy", "priority": "low"}, True),
        ({"amount_free": ["tidy"]}, {"action": "tidy", "priority": "high"}, False),
        ({"amount_free": ["tidy"]}, {"action": "tidy"}, False),
        ({"amount_free": ["tidy"]}, {"action": "tidy", "amount": 1}, False),
        ({"amount_free": ["tidy"]}, {"action": "buy", "priority": "low"}, False),
        ({"always_asked": ["fire"]}, {"action": "fire", "amount": 1, "priority": "low"}, False),
    ],
)
async def test_nobody_chooses_a_way_around_the_limit(
    tmp_path: Path, rules: dict[str, Any], request_: dict[str, Any], automatic: bool
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    async with site(url, approval=rules) as office:
        body = {**REQUEST, **request_}
        made = await office.http.post("/approvals", json=body, headers=bearer("r-1", "requester"))
        assert made.status_code == 202
        async with office.store.reading() as tx:
            record = await records.get(tx, "request-1")
    assert record is not None
    assert record["input"]["automatic"] is automatic


def test_the_limit_is_a_thousand() -> None:
    assert Rules().automatic_below == 1_000_00


async def trail(office: Site, **params: Any) -> dict[str, Any]:
    headers = bearer("op-1", "operator")
    answer = await office.http.get("/approvals/request-1/audit", params=params, headers=headers)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def ask(office: Site, **changes: Any) -> None:
    headers = bearer("r-1", "requester")
    for _ in range(2):
        made = await office.http.post("/approvals", json={**REQUEST, **changes}, headers=headers)
        assert made.status_code == 202


async def test_an_automatic_approval_is_in_the_trail_once(office: Site) -> None:
    await ask(office, amount=99)
    (row,) = (await trail(office))["items"]
    assert (row["via"], row["what"], row["verdict"]) == ("rules", "approve", "automatic")


async def decide(office: Site, headers: dict[str, str], n: int) -> int:
    body = {"event_id": f"e-{n}", "approved": True}
    answer = await office.http.post("/approvals/request-1/decision", json=body, headers=headers)
    assert answer.status_code != 429 or int(answer.headers["retry-after"]) > 0
    return answer.status_code


async def test_attempts_at_a_decision_are_bounded_and_somebody_is_told(office: Site) -> None:
    await ask(office, amount=5_000_000)
    forged = bearer("a-1", "approver", key="x" * 32)
    said = [await decide(office, forged, n) for n in range(audit_trail.REFUSALS + 20)]
    assert said == [401] * audit_trail.REFUSALS + [429] * 20
    own = bearer("r-1", "approver")
    assert [await decide(office, own, n) for n in range(5)] == [403] * 5
    assert len((await trail(office, limit=200))["items"]) == audit_trail.REFUSALS
    async with office.store.reading() as tx:
        (alert,) = await interventions.of_instance(tx, "request-1")
    assert (alert["kind"], alert["blocking"]) == ("forged", False)
    assert await decide(office, bearer("a-1", "approver"), 1) == 200, "who may still can"
    assert (await trail(office, limit=200))["items"][-1]["verdict"] == "accepted"


async def test_the_trail_has_pages(office: Site) -> None:
    await ask(office, amount=5_000_000)
    for n in range(5):
        await decide(office, bearer(f"x-{n}", "requester"), n)
    seen, after = [], 0
    while after is not None:
        page = await trail(office, limit=2, after=after)
        seen += [row["who"] for row in page["items"]]
        after = page["next"]
    assert seen == [f"x-{n}" for n in range(5)]


async def test_looking_at_a_bad_link_writes_nothing(office: Site) -> None:
    await ask(office, amount=5_000_000)
    for n in range(3):
        params = {"token": f"bad-{n}"}
        answer = await office.http.get("/approvals/request-1/decide", params=params)
        assert answer.status_code == 401
    assert (await trail(office))["items"] == []


async def test_bad_links_that_are_followed_are_bounded_too(office: Site) -> None:
    await ask(office, amount=5_000_000)

    async def follow(n: int) -> int:
        form = {"token": f"bad-{n}", "approved": "yes"}
        return (await office.http.post("/approvals/request-1/decide", data=form)).status_code

    said = await asyncio.gather(*(follow(n) for n in range(audit_trail.REFUSALS + 10)))
    assert sorted(said) == [401] * audit_trail.REFUSALS + [429] * 10


async def test_a_link_is_the_same_on_every_replica(tmp_path: Path) -> None:
    """It is part of a letter's body: another one under the same key would be refused."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    made = set()
    for port in (8000, 8001):
        async with site(url, port=port, host=f"10.0.0.{port % 10}") as office:
            await ask(office, amount=5_000_000)
            async with office.store.reading() as tx:
                record = await records.get(tx, "request-1")
            assert record is not None
            made.add(link_for(office.services.settings, record, "approver"))
    assert len(made) == 1
