"""Callbacks of providers: each has a secret of its own, and says only what is its own to say."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.security import sign
from app.settings import Settings
from store import inbox, interventions, records
from tests.support.site import SECRETS, Site, site

CAPTURED = {
    "type": "payment.captured",
    "reference": "order-1/charge",
    "occurred_at": "2026-11-24T10:00:00Z",
}
PICKED_UP = {**CAPTURED, "type": "carrier.picked_up", "reference": "order-1/create_shipment"}
SIGNED = {
    **CAPTURED,
    "type": "signing.signed",
    "reference": "document-1/send",
    "data": {"signer": "s-1"},
}


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Site]:
    """A site that knows an order, a document and a task."""
    async with site(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as made:
        for kind, id, input in (
            ("order_fulfilment", "order-1", {}),
            ("document_signing", "document-1", {"signers": ["s-1"]}),
            ("task_processing", "task-1", {}),
        ):
            async with made.store.transaction() as tx:
                await records.accept(
                    tx, id=id, kind=kind, idempotency_key=None, request_hash="h", input=input
                )
        yield made


async def kept(office: Site, id: str = "order-1") -> int:
    async with office.store.reading() as tx:
        names = ("carrier", "payment", "signing", "warehouse")
        return sum([len(await inbox.named(tx, id, name)) for name in names])


async def asked(office: Site) -> list[Any]:
    async with office.store.reading() as tx:
        return await interventions.of_instance(tx, "-")


@pytest.mark.parametrize("owner", ["carrier", "signing"])
async def test_a_provider_cannot_speak_for_another(office: Site, owner: str) -> None:
    for number in range(3):
        forged = await office.callback(
            CAPTURED, "payment", id=f"evt-{number}", secret=SECRETS[owner]
        )
        assert forged.status_code == 401
    assert await kept(office) == 0
    (alert,) = await asked(office)
    assert alert["kind"] == "forged"
    assert f"to payment was signed with the secret of {owner}" in alert["reason"]
    assert (await office.callback(CAPTURED, "payment")).status_code == 200


async def test_a_provider_without_a_secret_is_not_heard(office: Site) -> None:
    picked = {**PICKED_UP, "type": "warehouse.picked"}
    answer = await office.callback(picked, "warehouse", secret=SECRETS["carrier"])
    assert answer.status_code == 401


async def test_both_secrets_are_good_while_one_is_changed(tmp_path: Path) -> None:
    old, new, other = "old-" * 8, "new-" * 8, "other-" * 8
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    async with site(url, webhook_secrets={"carrier": [new, old]}) as office:
        statuses = [
            (await office.callback(PICKED_UP, secret=secret)).status_code
            for secret in (new, old, other)
        ]
    assert statuses == [404, 404, 401]


async def test_two_providers_may_number_their_events_alike(office: Site) -> None:
    first = await office.callback(PICKED_UP, id="evt-1")
    second = await office.callback(CAPTURED, "payment", id="evt-1")
    assert [answer.status_code for answer in (first, second)] == [200, 200]
    assert await kept(office) == 2


@pytest.mark.parametrize(
    "signature",
    ["", "v1", "v1,", ",", "v1a,AAAA", "v1,%%%", "v2,x v1", "v1,\xff\xfe", "x" * 9000, ", ,"],
)
async def test_a_signature_that_makes_no_sense_is_refused(office: Site, signature: str) -> None:
    answer = await office.callback(PICKED_UP, signature=signature)
    assert answer.status_code == 401
    assert await asked(office) == [], "a stranger makes nobody come"
    assert answer.headers["content-type"] == "application/problem+json"
    assert await kept(office) == 0


async def test_one_good_signature_among_others_is_enough(office: Site) -> None:
    raw, at = b'{"type": "carrier.picked_up"}', int(time.time())
    good = sign(SECRETS["carrier"], "evt-1", at, raw)
    answer = await office.callback(raw, at=str(at), signature=f"v1a,eA== {good}")
    assert answer.status_code == 422  # it was let in, and lacks a reference


@pytest.mark.parametrize(
    ("body", "source", "problem"),
    [
        ({**SIGNED, "reference": "order-1/send"}, "signing", "not-heard"),
        ({**PICKED_UP, "reference": "document-1/send"}, "carrier", "not-heard"),
        ({**CAPTURED, "reference": "task-1/create_record"}, "payment", "not-heard"),
        ({**SIGNED, "data": {"signer": "s-2"}}, "signing", "not-asked"),
        ({**SIGNED, "data": {"signer": ["s-1"]}}, "signing", "not-asked"),
        ({**SIGNED, "data": {}}, "signing", "not-asked"),
        ({**CAPTURED, "type": "carrier.picked_up"}, "payment", "invalid"),
    ],
)
async def test_an_event_that_fits_nothing_is_refused(
    office: Site, body: dict[str, Any], source: str, problem: str
) -> None:
    answer = await office.callback(body, source)
    assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (422, problem)
    assert sum([await kept(office, id) for id in ("order-1", "document-1", "task-1")]) == 0


async def test_a_type_that_we_do_not_know_is_kept(office: Site) -> None:
    answer = await office.callback({**PICKED_UP, "type": "carrier.weighed"})
    assert answer.status_code == 200
    assert await kept(office) == 1


def test_the_signature_of_the_specification() -> None:
    """The example of the Standard Webhooks specification."""
    made = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


GOOD = "a-secret-of-enough-bytes"


@pytest.mark.parametrize(
    "secrets",
    [
        {"carrier": [""]},
        {"carrier": ["short"]},
        {"carrier": ["whsec_"]},
        {"carrier": ["whsec_" + base64.b64encode(b"short").decode()]},
        {"carrier": ["whsec_%%%%" + "x" * 40]},
        {"carrier": []},
        {"carrier": [GOOD, "short"]},
        {"carrier": [GOOD], "payment": [GOOD]},
        {"nobody": [GOOD]},
        {"carrier": GOOD},
    ],
)
def test_weak_or_shared_secrets_are_refused_at_the_start(secrets: object) -> None:
    with pytest.raises(ValidationError, match="webhook_secrets") as refused:
        Settings.model_validate({"webhook_secrets": secrets})
    assert GOOD not in str(refused.value)
    assert "short" not in str(refused.value).replace("shorter", "")
