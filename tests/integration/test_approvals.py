"""Approvals on the real runtime: who may decide, the instant of the deadline, forged events."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import jwt
import pytest

from launcher.runtime import find_or_build
from launcher.stack import Stack
from tests.support.sagas import effect_keys
from tests.support.shop import Shop, some_id, until
from tests.support.tokens import token


@pytest.fixture
def office(stack: Stack, shop: Shop) -> Shop:
    """What the requester sees."""
    return Shop(shop.url, shop.downstream_url).authorize(token(stack, "r-1", "requester"))


def as_(shop: Shop, stack: Stack, who: str, *roles: str) -> Shop:
    return Shop(shop.url, shop.downstream_url).authorize(token(stack, who, *roles))


def request(id: str, **changes: Any) -> dict[str, Any]:
    return {"id": id, "title": "a new press", "action": "buy", "amount": 5_000_000, **changes}


def decide(shop: Shop, id: str, approved: bool = True, **changes: Any) -> httpx.Response:
    body = {"event_id": some_id("e"), "approved": approved, **changes}
    return shop.post(f"/approvals/{id}/decision", body)


def trail(shop: Shop, id: str) -> list[str]:
    url = f"{shop.url}/approvals/{id}/audit?limit=200"
    items = shop.http.get(url).json()["items"]
    return [f"{item['via']} {item['who']}: {item['verdict']}" for item in items]


def test_each_outcome(shop: Shop, office: Shop, stack: Stack) -> None:
    approver = as_(shop, stack, "a-1", "approver")
    seconds = {"escalate_after": 1, "expire_after": 2}
    small = office.start(request(some_id("small"), amount=99), "/approvals")
    yes = office.start(request(some_id("yes")), "/approvals")
    no = office.start(request(some_id("no")), "/approvals")
    late = office.start(request(some_id("late"), **seconds), "/approvals")
    assert decide(approver, yes).status_code == 200
    assert decide(approver, no, approved=False, comment="too dear").status_code == 200
    outcomes = {id: shop.ended(id) for id in (small, yes, no, late)}
    assert outcomes == {small: "APPROVED", yes: "APPROVED", no: "REJECTED", late: "TIMED_OUT"}
    assert [("execute" in effect_keys(shop, id)) for id in outcomes] == [True, True, False, False]
    answer = decide(approver, late)
    assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (409, "decision-late")


def test_the_escalation_leaves_the_director_alone(shop: Shop, office: Shop, stack: Stack) -> None:
    id = office.start(request(some_id("up"), escalate_after=1), "/approvals")
    until(lambda: "notify_director/1" in effect_keys(shop, id), 20, "the escalation")
    assert decide(as_(shop, stack, "a-1", "approver"), id).status_code == 403
    assert decide(as_(shop, stack, "d-1", "director"), id).status_code == 200
    assert shop.ended(id) == "APPROVED"
    seen = trail(shop, id)
    assert seen == ["api a-1: director", "api d-1: accepted"]


def test_refused_changes_nothing_and_is_in_the_trail(
    shop: Shop, office: Shop, stack: Stack
) -> None:
    id = office.start(request(some_id("guard")), "/approvals")
    shop.wait(id, waiting_for="approval_received")
    good = {"sub": "a-1", "roles": ["approver"], "aud": "steadfast", "exp": int(time.time()) + 60}
    key = stack.secrets.jwt_key
    kid = {"kid": "launcher"}
    bad = {
        "none": "",
        "tampered": jwt.encode(good, key, "HS256", headers=kid)[:-3] + "abc",
        "another key": jwt.encode(good, "x" * 40, "HS256", headers=kid),
        "no algorithm": jwt.encode(good, "", "none", headers=kid),
        "another algorithm": jwt.encode(good, key * 2, "HS512", headers=kid),
        "unknown key": jwt.encode(good, key, "HS256", headers={"kid": "other"}),
        "expired": jwt.encode({**good, "exp": 1}, key, "HS256", headers=kid),
        "another audience": jwt.encode({**good, "aud": "other"}, key, "HS256", headers=kid),
        "no expiry": jwt.encode({"sub": "a-1", "aud": "steadfast"}, key, "HS256", headers=kid),
        "absurd roles": jwt.encode({**good, "roles": ["king"]}, key, "HS256", headers=kid),
    }
    for name, offered in bad.items():
        stranger = Shop(shop.url, shop.downstream_url)
        if offered:
            stranger.authorize(offered)
        assert decide(stranger, id).status_code == 401, name
    assert decide(as_(shop, stack, "x-1"), id).status_code == 403
    assert decide(as_(shop, stack, "r-1", "approver"), id).status_code == 403
    assert shop.look(id)["status"] == "WAITING"
    seen = trail(shop, id)
    assert len(seen) == len(bad) + 2
    assert all("unauthenticated: refused" in line for line in seen[: len(bad)])
    assert seen[-2:] == ["api x-1: role", "api r-1: own"]
    assert (
        Shop(shop.url, shop.downstream_url).http.get(f"{shop.url}/approvals/{id}/audit").status_code
        == 401
    )


def test_the_same_decision_again_and_another_body(shop: Shop, office: Shop, stack: Stack) -> None:
    id = office.start(request(some_id("again")), "/approvals")
    approver = as_(shop, stack, "a-1", "approver")
    event = some_id("e")
    answers = [decide(approver, id, event_id=event) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert decide(approver, id, approved=False, event_id=event).status_code == 422
    assert decide(as_(shop, stack, "a-2", "approver"), id).status_code == 409
    assert shop.ended(id) == "APPROVED"


def test_a_link_shows_and_decides_once(shop: Shop, office: Shop) -> None:
    id = office.start(request(some_id("link")), "/approvals")
    shop.wait(id, waiting_for="approval_received")
    (asked,) = [e for e in shop.ledger(id)["effects"] if e["key"] == f"{id}/notify_approvers/1"]
    link = asked["detail"]["link"]
    anybody = httpx.Client()
    for _ in range(3):
        page = anybody.get(link)
        assert (page.status_code, "a new press" in page.text) == (200, True)
    assert shop.look(id)["status"] == "WAITING"

    address, _, offered = link.partition("?token=")
    other = office.start(request(some_id("other")), "/approvals")
    shop.wait(other, waiting_for="approval_received")
    elsewhere = address.replace(id, other)
    assert anybody.post(elsewhere, data={"token": offered, "approved": "yes"}).status_code == 401
    assert anybody.post(address, data={"token": "x", "approved": "yes"}).status_code == 401
    assert anybody.post(address, data={"token": offered, "approved": "maybe"}).status_code == 422
    assert anybody.post(address, data={"token": offered, "approved": "yes"}).status_code == 200
    assert shop.ended(id) == "APPROVED"
    assert anybody.post(address, data={"token": offered, "approved": "no"}).status_code == 422
    assert anybody.post(address, data={"token": offered, "approved": "yes"}).status_code == 409
    assert shop.look(other)["status"] == "WAITING"


def test_two_hundred_decisions_around_the_deadline(shop: Shop, office: Shop, stack: Stack) -> None:
    """From 2 s before to 2 s after it; what the caller was told is what happened."""
    approver = as_(shop, stack, "a-1", "approver")
    ids = [some_id("edge") for _ in range(200)]
    only = {"escalate_after": 50, "expire_after": 50}  # long enough to start them all
    office.start_all([request(id, **only) for id in ids], "/approvals")
    due = {id: shop.wait(id, 60, waiting_for="approval_received")["due_at"] for id in ids}

    def at_its_moment(numbered: tuple[int, str]) -> tuple[str, int]:
        number, id = numbered
        moment = seconds(due[id]) - 2 + 4 * number / len(ids)
        until(lambda: time.time() >= moment, 60, "the moment")
        return id, decide(approver, id, approved=number % 2 == 0).status_code

    with ThreadPoolExecutor(40) as pool:
        ordered = sorted(ids, key=lambda id: due[id])
        told = dict(pool.map(at_its_moment, enumerate(ordered)))
    wanted = {id: "APPROVED" if n % 2 == 0 else "REJECTED" for n, id in enumerate(ordered)}
    for id in ids:
        expected = wanted[id] if told[id] == 200 else "TIMED_OUT"
        assert shop.ended(id, 60) == expected
        assert ("execute" in effect_keys(shop, id)) == (expected == "APPROVED")
    won = Counter(told.values())
    assert set(won) == {200, 409}
    assert min(won.values()) >= 20, won


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


class TestEvents:
    """Decisions raised with the real Dapr CLI, past the API."""

    @staticmethod
    def sign(stack: Stack, id: str, *more: str) -> str:
        command = [sys.executable, "-m", "app", "decision", "sign", id, "--approver", "a-1"]
        env = {**os.environ, **stack.app_environment}
        return subprocess.run(
            [*command, *more], env=env, check=True, capture_output=True, text=True
        ).stdout.strip()

    @staticmethod
    def raise_(stack: Stack, command: str) -> None:
        """Runs a printed command with the CLI that `make runtime` builds."""
        folder = find_or_build(("dapr",))["dapr"].parent
        env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        env["DAPR_API_TOKEN"] = stack.secrets.dapr_api_token
        done = subprocess.run(
            shlex.split(command), env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def refused(self, shop: Shop, id: str, count: int) -> list[str]:
        def found() -> list[str] | None:
            lines = [line for line in trail(shop, id) if "refused" in line]
            return lines if len(lines) == count else None

        return until(found, 20, f"{count} refusals in the trail")

    def test_a_decision_that_is_refused_is_refused_again(
        self, shop: Shop, office: Shop, stack: Stack
    ) -> None:
        """Signed well, by somebody who may no longer decide alone, and raised twice."""
        id = office.start(request(some_id("twice"), escalate_after=1), "/approvals")
        until(lambda: "notify_director/1" in effect_keys(shop, id), 20, "the escalation")
        shop.wait(id, waiting_for="approval_received")
        signed = self.sign(stack, id)
        for count in (1, 2):
            self.raise_(stack, signed)
            self.refused(shop, id, count)
        assert shop.look(id)["status"] == "WAITING"
        alerts = [one for one in interventions(shop, id) if one["kind"] == "forged"]
        assert len(alerts) == 1, "of what is wrong in the same way, somebody is told once"
        self.raise_(stack, self.sign(stack, id, "--approver", "d-1", "--role", "director"))
        assert shop.ended(id) == "APPROVED"

    def test_signed_counts_and_nothing_else(self, shop: Shop, office: Shop, stack: Stack) -> None:
        id, other = (office.start(request(some_id("cli")), "/approvals") for _ in range(2))
        for one in (id, other):
            shop.wait(one, waiting_for="approval_received")
        unsigned = json.dumps({"approved": True, "approver": "a-1"})
        to = f"{id}/approval_received --app-id {stack.settings.app_id}"
        event = f"dapr workflow raise-event {to} --input "
        good = self.sign(stack, id)
        forged = good.replace('"approver":"a-1"', '"approver":"a-9"')
        for command in (
            event + shlex.quote(unsigned),
            event + shlex.quote("approved"),
            forged,
            self.sign(stack, other).replace(f"{other}/", f"{id}/"),
            self.sign(stack, id, "--seconds", "-1"),
            self.sign(stack, id).replace("a-1", "r-1"),
        ):
            self.raise_(stack, command)
        refused = self.refused(shop, id, 6)
        assert any("expired" in line for line in refused)
        assert shop.look(id)["status"] == "WAITING"
        alerts = [one for one in interventions(shop, id) if one["kind"] == "forged"]
        assert len(alerts) == 3, "no decision in it, a signature for something else, expired"

        self.raise_(stack, good)
        assert shop.ended(id) == "APPROVED"
        assert shop.look(other)["status"] == "WAITING"


def interventions(shop: Shop, id: str) -> list[dict[str, Any]]:
    found = shop.http.get(f"{shop.url}/interventions?limit=200").json()["items"]
    return [one for one in found if one["instance"] == id]
