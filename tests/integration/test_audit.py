"""Money that nobody accounts for: what is given back, over kills, and what is a person's."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from launcher.settings import Settings
from launcher.stack import Stack
from tests.support.sagas import effect_keys
from tests.support.shop import FULFILLED, Shop, order, some_id, until
from tests.support.tokens import token

# Patience in seconds where the default is an hour.
ENV = {"STEADFAST_AUDIT_INTERVAL": "1", "STEADFAST_AUDIT_AFTER": "4"}
ORDERS = 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = Settings.ephemeral(tmp_path_factory.mktemp("audited"))
    with Stack(settings, app_env=ENV) as running:
        yield running


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    stack.wait_ready()
    visitor = Shop(stack.url, stack.downstream_url).authorize(token(stack, "op-1", "operator"))
    yield visitor
    visitor.http.delete(f"{stack.downstream_url}/script")
    visitor.http.close()
    stack.unhold("app")


def asked(shop: Shop, instance: str) -> list[dict[str, Any]]:
    """Every intervention of an instance, answered or not."""
    found = shop.http.get(f"{shop.url}/interventions?status=all&limit=200").json()["items"]
    return [one for one in found if one["instance"] == instance]


def audit(stack: Stack) -> None:
    """One more sweep, by a command beside the application."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "audit"],
        env={**os.environ, **stack.app_environment, "STEADFAST_AUDIT_AFTER": "0.1"},
        check=False,
        timeout=60,
    )
    assert done.returncode == 0


def restart_on(stack: Stack, backup: Path | None) -> None:
    """The application comes back on another database, or on none."""
    stack.hold("app")
    stack.kill("app")
    folder = stack.settings.data_dir
    for leftover in folder.glob("app.db*"):
        leftover.unlink()
    if backup is not None:
        shutil.copy(backup, folder / "app.db")
    stack.unhold("app")
    stack.wait_ready()


def backup_of(stack: Stack, folder: Path) -> Path:
    """The database as it is while nobody has it open."""
    stack.hold("app")
    stack.kill("app")
    path = folder / "backup.db"
    with closing(sqlite3.connect(stack.settings.data_dir / "app.db")) as connection:
        connection.execute("VACUUM INTO ?", [str(path)])
    stack.unhold("app")
    stack.wait_ready()
    return path


def refunds(shop: Shop) -> list[dict[str, Any]]:
    effects = shop.http.get(f"{shop.downstream_url}/ledger").json()["effects"]
    return [each for each in effects if each["operation"] == "payment.refund"]


def test_lost_records_are_one_question_and_no_refund(
    shop: Shop, stack: Stack, tmp_path: Path
) -> None:
    """Forty orders were fulfilled; then the database is an older copy of itself, and then none."""
    backup = backup_of(stack, tmp_path)
    ids = shop.start_all(order(some_id("lost")) for _ in range(ORDERS))
    assert {shop.ended(id, 60) for id in ids} == {"FULFILLED"}
    for database in (backup, None):
        restart_on(stack, database)

        def listed() -> list[dict[str, Any]]:
            return [one for one in asked(shop, "-") if f"{ORDERS} times" in one["reason"]]

        [question] = until(listed, 30, "a question")
        assert all(f"{id}/charge" in question["reason"] for id in ids)
        audit(stack)
        assert [one["id"] for one in asked(shop, "-")] == ["audit/1"]
        assert refunds(shop) == []
    found = shop.http.get(f"{shop.url}/audit/findings?limit=200").json()["items"]
    assert {one["key"] for one in found} == {f"{id}/charge" for id in ids}
    answer = {"action": "settled", "note": "they are all fulfilled"}
    assert shop.post("/interventions/audit/1", answer).status_code == 200
    until(lambda: not shop.http.get(f"{shop.url}/audit/findings").json()["items"], 20, "settled")
    audit(stack)
    assert [one["action"] for one in asked(shop, "-")] == ["settled"]
    assert all(shop.effects(id) == FULFILLED for id in ids)


def test_money_behind_the_back_of_an_ended_order_is_refunded_once_over_kills(
    shop: Shop, stack: Stack
) -> None:
    id = shop.start(order(some_id("behind"), payment_method="pm-declined"))
    assert shop.ended(id) == "REFUSED"
    again = {
        "instance": id,
        "reference": f"{id}/charge-again",
        "amount": 5,
        "currency": "EUR",
        "payment_method": "pm-ok",
        "customer": "c-17",
    }
    key = f"{id}/charge-again"
    headers = {"Idempotency-Key": key}
    held = [
        shop.script({"hold": stage}, key=f"{key}/audit_refund", attempts=[n])
        for n, stage in ((1, "before"), (2, "after"))
    ]
    charged = shop.http.post(f"{shop.downstream_url}/payment/charge", json=again, headers=headers)
    assert charged.json()["result"] == "applied"
    for rule in held:
        until(partial(shop.fired, rule), 30, "the refund is under way")
        stack.wait_restarted("app", stack.kill("app"))

    def refunded() -> bool:
        path = f"{shop.url}/audit/findings?state=refunded"
        return any(one["key"] == key for one in shop.http.get(path).json()["items"])

    until(refunded, 30, "the refund is noted")
    audit(stack)
    assert effect_keys(shop, id) == ["notify", "charge-again", "charge-again/audit_refund"]
    assert [one["kind"] for one in asked(shop, id)] == ["unaccounted"]


def test_what_a_person_has_settled_is_not_refunded_again(shop: Shop, stack: Stack) -> None:
    id = some_id("byhand")
    shop.script({"status": 500}, key=f"{id}/refund")
    none = [{"sku": "SKU-NONE", "quantity": 1, "unit_price": 5}]
    shop.start(order(id, lines=none, retry={"attempts": 1, "undo_for": 0}))
    shop.wait(id, status="PARKED")
    paid_back = {"action": "settled", "note": "paid back in cash"}
    assert shop.post(f"/interventions/{id}/refund/1", paid_back).status_code == 200
    assert shop.ended(id) == "REFUSED"
    for _ in range(2):
        audit(stack)
    assert "payment.refund" not in shop.effects(id)
