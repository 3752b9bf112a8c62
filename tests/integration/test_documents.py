"""Documents on the real runtime: shuffled, tripled, killed half-way, and signed by strangers."""

from __future__ import annotations

import random
from typing import Any

from launcher.stack import Stack
from tests.support.sagas import effect_keys
from tests.support.shop import Shop, some_id

SIGNERS = [f"signer-{number}" for number in range(1, 31)]


def document(id: str, **changes: Any) -> dict[str, Any]:
    return {"id": id, "title": "lease", "requester": "c-17", "signers": SIGNERS, **changes}


def call_back(shop: Shop, id: str, signer: str, **changes: Any) -> None:
    body = {
        "source": "signing",
        "type": "signing.signed",
        "reference": f"{id}/send",
        "data": {"signer": signer},
        **changes,
    }
    response = shop.http.post(f"{shop.downstream_url}/callbacks", json=body)
    assert response.is_success, response.text


def test_thirty_signers_shuffled_and_tripled_with_a_kill_half_way(shop: Shop, stack: Stack) -> None:
    id = shop.start(document(some_id("document")), "/documents")
    shop.wait(id, waiting_for="signing")
    answers = [(signer, copy) for signer in SIGNERS for copy in range(3)]
    random.Random(5).shuffle(answers)
    for number, (signer, copy) in enumerate(answers):
        call_back(shop, id, signer, event_id=f"evt-{id}-{signer}-{copy}", copies=2)
        if number == len(answers) // 2:
            stack.kill("app")
    assert shop.ended(id, 60) == "SIGNED"
    assert effect_keys(shop, id) == ["send", "notify"]


def test_declined_by_one(shop: Shop) -> None:
    id = shop.start(document(some_id("document")), "/documents")
    shop.wait(id, waiting_for="signing")
    call_back(shop, id, SIGNERS[0])
    call_back(shop, id, SIGNERS[1], type="signing.declined")
    assert shop.ended(id) == "DECLINED"
    assert effect_keys(shop, id) == ["send", "void", "notify"]


def test_a_stranger_signs_nothing_and_it_expires(shop: Shop) -> None:
    seconds = {"signing_timeout": 3, "reminder_interval": 1, "signers": SIGNERS[:1]}
    id = shop.start(document(some_id("document"), **seconds), "/documents")
    shop.wait(id, waiting_for="signing")
    call_back(shop, id, "nobody")
    assert shop.ended(id) == "EXPIRED"
    assert effect_keys(shop, id) == ["send", "remind/1/1", "remind/2/1", "void", "notify"]
    assert all(entry["what"] != "event" for entry in shop.look(id)["timeline"])


def test_two_signers_of_one_name(shop: Shop) -> None:
    twice = document(some_id("document"), signers=["a", "a"])
    assert shop.post("/documents", twice).status_code == 422
