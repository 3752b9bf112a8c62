"""Each way in on the real stack, tried by everybody whose it is not: refused, nothing changed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.security import sign
from launcher.stack import Stack
from tests.support.sagas import deployment, document, effect_keys, task
from tests.support.shop import Shop, order, some_id, until
from tests.support.tokens import token

ROLES = ("requester", "approver", "director", "operator")
ASK, DECIDE, OPERATE = ("requester", "operator"), ("approver", "director"), ("operator",)
# Signed by a provider, signed by us, or nothing that is anybody's secret.
OPEN = {"/livez", "/readyz", "/metrics", "/webhooks/{source}", "/approvals/{id}/decide"}
APPROVAL = {"title": "a press", "action": "buy", "amount": 5_000_000}
NOT_PICKED = {"callbacks": {"warehouse.picked": {"never": True}}}
NOT_PICKED_UP = {"callbacks": {"carrier.picked_up": {"never": True}}}
SAYS = {
    "carrier": "carrier.picked_up",
    "payment": "payment.captured",
    "signing": "signing.signed",
    "warehouse": "warehouse.picked",
}


@dataclass(frozen=True)
class Way:
    """A request that would be granted to each of `roles`, and is for an instance of `kind`."""

    method: str
    path: str
    roles: tuple[str, ...]
    kind: str = "order"
    body: Any = None


def starts(path: str, roles: tuple[str, ...], body: dict[str, Any]) -> Way:
    return Way("POST", path, roles, "new", body)


WAYS = (
    starts("/orders", ASK, order("new")),
    starts("/tasks", ASK, task("new")),
    starts("/deployments", ASK, deployment("new")),
    starts("/documents", ASK, document("new")),
    starts("/approvals", ASK, {**APPROVAL, "amount": 1}),
    starts("/monitors", OPERATE, {"url": "http://127.0.0.1:9/"}),
    Way("GET", "/workflows", ROLES),
    Way("GET", "/workflows/{id}", ROLES),
    Way("GET", "/monitors/{id}", ROLES, "monitor"),
    Way("GET", "/monitors/{id}/incidents", ROLES, "monitor"),
    Way("GET", "/approvals/{id}/audit", (*DECIDE, "operator"), "approval"),
    Way("GET", "/interventions", OPERATE),
    Way("GET", "/audit/findings", OPERATE),
    Way("POST", "/workflows/{id}/suspend", OPERATE),
    Way("POST", "/workflows/{id}/resume", OPERATE),
    Way("POST", "/workflows/{id}/retry", OPERATE),
    Way("POST", "/workflows/{id}/cancel", OPERATE),
    Way("POST", "/workflows/{id}/terminate", OPERATE),
    Way("POST", "/deployments/{id}/rollback", OPERATE, "deployment"),
    Way("POST", "/monitors/{id}/control", OPERATE, "monitor", {"action": "stop"}),
    Way("POST", "/interventions/{id}", OPERATE, "asked", {"action": "settled", "note": "x"}),
    Way("POST", "/approvals/{id}/decision", DECIDE, "approval", {"approved": True}),
)


@pytest.fixture(scope="module")
def own(stack: Stack) -> Iterator[Shop]:
    stack.wait_ready()
    visitor = Shop(stack.url, stack.downstream_url)
    yield visitor.authorize(token(stack, "op-1", "operator", "requester"))
    visitor.http.delete(f"{stack.downstream_url}/script")


@pytest.fixture(scope="module")
def known(own: Shop) -> dict[str, str]:
    """An instance of each kind, in the middle of what it does, and an open intervention."""
    ids = {kind: some_id(kind) for kind in ("order", "monitor", "approval", "deployment", "stuck")}
    own.script(NOT_PICKED, operation="carrier.create_shipment", instance=ids["order"])
    own.script({"status": 500}, key=f"{ids['stuck']}/notify")
    own.start(order(ids["order"]))
    own.start(order(ids["stuck"], retry={"attempts": 1}))
    own.start({"id": ids["monitor"], "url": f"{own.downstream_url}/health/x"}, "/monitors")
    own.start({**APPROVAL, "id": ids["approval"]}, "/approvals")
    own.start(deployment(ids["deployment"]), "/deployments")
    own.wait(ids["order"], waiting_for="warehouse")
    own.wait(ids["approval"], waiting_for="approval_received")
    assert own.ended(ids["deployment"]) == "READY"
    asked = own.wait(ids["stuck"], status="PARKED")["waiting_for"]
    until(lambda: told_of(own, asked), 20, "somebody was told")
    monitor = f"{own.url}/monitors/{ids['monitor']}"
    until(lambda: own.http.get(monitor).json()["checks"], 20, "a check")
    return {**ids, "asked": asked}


def told_of(own: Shop, asked: str) -> bool:
    items = own.http.get(f"{own.url}/interventions?limit=200").json()["items"]
    return any(one["id"] == asked and one["alerted_at"] for one in items)


def ask(own: Shop, stack: Stack, way: Way, id: str, who: str | None) -> httpx.Response:
    """Asks as somebody with one role, with a role that nobody has heard of, or as a stranger."""
    body = None if way.body is None else dict(way.body)
    if way.kind == "new":
        body["id"] = id  # type: ignore[index]
    if way.path.endswith("/decision"):
        body["event_id"] = some_id("e")  # type: ignore[index]
    headers = {"Authorization": f"Bearer {token(stack, 'x-1', *filter(None, [who]))}"}
    url = own.url + way.path.replace("{id}", id)
    with httpx.Client(headers={} if who is None else headers, timeout=30) as client:
        return client.request(way.method, url, json=body)


def state(own: Shop, known: dict[str, str]) -> Any:
    ids = [id for kind, id in known.items() if kind != "asked"]
    checks = ("checks", "checked_at")
    monitor = own.http.get(f"{own.url}/monitors/{known['monitor']}").json()
    told = {name: value for name, value in monitor.items() if name not in checks}
    return [(own.look(id), effect_keys(own, id)) for id in ids if id != known["monitor"]], told


def test_every_way_in_is_tried(own: Shop) -> None:
    described = own.http.get(f"{own.url}/openapi.json").json()["paths"]
    ways = {(method.upper(), path) for path in described for method in described[path]}
    tried = {(way.method, way.path) for way in WAYS}
    assert tried == {way for way in ways if way[1] not in OPEN}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.method} {way.path}")
def test_whoever_may_not_changes_nothing(
    own: Shop, stack: Stack, known: dict[str, str], way: Way
) -> None:
    before = state(own, known)
    id = known.get(way.kind) or some_id("never")
    for who in (None, "", *ROLES):
        if who in way.roles:
            continue
        answer = ask(own, stack, way, id, who)
        assert answer.status_code == (401 if who is None else 403), f"{who}: {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
    assert state(own, known) == before
    if way.kind == "new":
        assert own.look(id) == {}


def test_whoever_may_is_let_in(own: Shop, stack: Stack, known: dict[str, str]) -> None:
    """What was refused was refused for the role alone; the last of these end what they meet."""
    for way in WAYS:
        id = known.get(way.kind) or some_id("let-in")
        answer = ask(own, stack, way, id, way.roles[0])
        assert answer.is_success or answer.status_code == 409, f"{way}: {answer.text}"


@pytest.fixture
def waiting(own: Shop) -> dict[str, str]:
    """For each provider, the reference of what waits for it."""
    paying, picking, leaving, signing = (some_id(name) for name in ("pay", "pick", "leave", "sign"))
    settled = {"pending": {"settle": "applied", "after": 3600}}
    own.script(settled, operation="payment.charge", instance=paying)
    own.script(NOT_PICKED, operation="carrier.create_shipment", instance=picking)
    own.script(NOT_PICKED_UP, operation="carrier.create_shipment", instance=leaving)
    for id in (paying, picking, leaving):
        own.start(order(id))
    own.start(document(signing), "/documents")
    own.wait(paying, waiting_for="payment")
    own.wait(picking, waiting_for="warehouse")
    own.wait(leaving, waiting_for="carrier")
    own.wait(signing, waiting_for="signing")
    return {
        "payment": f"{paying}/charge",
        "warehouse": f"{picking}/create_shipment",
        "carrier": f"{leaving}/create_shipment",
        "signing": f"{signing}/send",
    }


def call_back(own: Shop, at: str, secret: str, type: str, reference: str) -> httpx.Response:
    """A callback of this type at this provider's door, signed with this secret."""
    now, event_id = int(time.time()), some_id("evt")
    said = {"type": type, "reference": reference, "occurred_at": "2026-11-24T10:00:00Z"}
    raw = json.dumps({**said, "data": {"signer": "s-1"}}).encode()
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secret, event_id, now, raw),
    }
    return httpx.post(f"{own.url}/webhooks/{at}", content=raw, headers=headers)


def test_no_provider_speaks_for_another(own: Shop, stack: Stack, waiting: dict[str, str]) -> None:
    secrets = stack.secrets.webhook_secrets
    ids = {source: reference.partition("/")[0] for source, reference in waiting.items()}
    before = {id: own.look(id) for id in ids.values()}
    for source, reference in waiting.items():
        for owner in secrets.keys() - {source}:
            forged = call_back(own, source, secrets[owner], SAYS[source], reference)
            assert forged.status_code == 401, f"{owner} for {source}: {forged.text}"
            lent = call_back(own, owner, secrets[owner], SAYS[source], reference)
            assert lent.status_code == 422, f"{owner} for {source}: {lent.text}"
    assert {id: own.look(id) for id in ids.values()} == before
    items = own.http.get(f"{own.url}/interventions?limit=200").json()["items"]
    assert [one["kind"] for one in items if "/forged-callback/" in one["id"]] == ["forged"]
    for source, reference in waiting.items():
        heard = call_back(own, source, secrets[source], SAYS[source], reference)
        assert heard.status_code == 200, heard.text
        until(lambda s=source: own.look(ids[s])["waiting_for"] != s, 20, f"{source} is heard")  # type: ignore[misc]
