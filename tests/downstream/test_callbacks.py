"""Settlements, later events, and the signed word about them."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

import pytest

from downstream.delivery import Signer, Signers
from tests.downstream.kit import SECRET, TRAINING, Heard, Witness, in_process, receiver, until


def verify(heard: Heard) -> None:
    """Standard Webhooks, written down a second time."""
    headers = heard.headers
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 5
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{heard.body}".encode()
    secret = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def quick(type_: str, **more: object) -> dict[str, object]:
    """A script that brings an event about at once."""
    return {"callbacks": {type_: {"after": 0, **more}}}


async def state(witness: Witness, key: str = "order-1/charge") -> str:
    operation = {"charge": "payment.charge", "ship": "carrier.create_shipment"}[key.split("/")[1]]
    return str((await witness.look_up(operation, key)).json()["result"])


async def test_pending_is_settled_and_told(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            pending = await witness.charge(payment_method="pm-pending")
            assert (pending.status_code, pending.json()["result"]) == (202, "pending")
            assert await witness.effects() == []
            [heard] = await there.hears(1)
            assert heard.path == "/webhooks/payment"
            assert heard.headers["webhook-id"] == "evt-order-1=2Fcharge-payment.captured"
            assert heard.event["type"] == "payment.captured"
            assert heard.event["reference"] == "order-1/charge"
            verify(heard)
            assert await witness.effects() == ["payment.charge"]
            replayed = await witness.charge(payment_method="pm-pending")
            assert (replayed.status_code, replayed.json()["result"]) == (200, "applied")
            assert replayed.json()["provider_id"] == pending.json()["provider_id"]
            assert (await witness.refund()).json()["result"] == "applied"


async def test_pending_may_be_refused_later(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(quick("payment.failed"))
            await witness.charge(payment_method="pm-fails-later")
            [heard] = await there.hears(1)
            assert heard.event["type"] == "payment.failed"
            assert heard.event["data"]["reason"] == "insufficient_funds"
            replayed = await witness.charge(payment_method="pm-fails-later")
            assert (replayed.status_code, replayed.json()["result"]) == (409, "refused")
            assert await witness.effects() == []


async def test_without_a_callback_a_settlement_is_looked_up(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        await witness.script({"callbacks": {"settled": {"after": 0}}})
        assert (await witness.do("ml.train", "model-1/train", TRAINING)).json()[
            "result"
        ] == "pending"

        async def settled() -> bool:
            answer = (await witness.look_up("ml.train", "model-1/train")).json()
            return bool(answer["result"] == "applied")

        await until(settled)
        assert await witness.effects("model-1") == ["ml.train"]
        assert (await witness.client.get("/callbacks")).json() == []


async def test_an_undo_cancels_a_settlement(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script({"pending": {"settle": "applied", "after": 0.2}})
            await witness.charge()
            assert (await witness.refund()).json()["result"] == "closed"
            await witness.client.delete("/script")
            # Settled later than the first would have been, and heard alone.
            await witness.script({"pending": {"settle": "applied", "after": 0.3}})
            await witness.charge("order-2/charge")
            [heard] = await there.hears(1)
            assert heard.event["reference"] == "order-2/charge"
            assert await state(witness) == "undone"
            assert await witness.effects() == []


async def test_a_late_capture_comes_despite_the_undo(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            change = {"after": 0.3, "despite_undo": True}
            await witness.script({"callbacks": {"payment.captured": change}})
            await witness.charge(payment_method="pm-pending")
            assert (await witness.refund()).json()["result"] == "closed"
            await there.hears(1)
            assert await witness.effects() == ["payment.charge"]
            assert await state(witness) == "applied"
            late = await witness.charge(payment_method="pm-pending")
            assert (late.status_code, late.json()["result"]) == (409, "undone")
            assert (await witness.refund()).json()["result"] == "closed"
            assert (await witness.refund("order-1/refund-late")).json()["result"] == "applied"
            assert await witness.effects() == ["payment.charge", "payment.refund"]
            assert await state(witness) == "undone"


async def test_no_undo_after_the_parcel_has_left(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            hurry = {"warehouse.picked": {"after": 0}, "carrier.picked_up": {"after": 0}}
            await witness.script({"callbacks": hurry})
            await witness.ship()
            heard = await there.hears(2)
            assert {each.path for each in heard} == {"/webhooks/warehouse", "/webhooks/carrier"}
            for _ in range(2):
                late = await witness.cancel_shipment()
                assert (late.status_code, late.json()["result"]) == (409, "too_late")
                assert late.json()["reason"] == "carrier.picked_up"
            assert (await witness.ship()).json()["result"] == "applied"
            assert await witness.effects() == ["carrier.create_shipment"]
            assert await witness.attempts() == [
                "create_shipment applied",
                "cancel_shipment too_late",
                "cancel_shipment too_late",
                "create_shipment replayed",
            ]


async def test_a_cancelled_shipment_is_never_picked_up(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(quick("warehouse.picked"))
            await witness.script({"callbacks": {"carrier.picked_up": {"after": 0.3}}})
            await witness.ship()
            await there.hears(1)
            undo = await witness.cancel_shipment()
            assert undo.json()["result"] == "applied"
            await witness.ship("order-2/ship")
            await there.hears(2)
            assert there.types == ["warehouse.picked", "warehouse.picked"]


async def test_what_cannot_be_found_is_not_picked_up(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(quick("warehouse.not_found"))
            await witness.ship(sku="SKU-LOST")
            await there.hears(1)
            assert there.types == ["warehouse.not_found"]
            assert (await witness.cancel_shipment()).json()["result"] == "applied"


async def test_never_stops_what_follows_and_zero_copies_are_not_heard(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(
                {"callbacks": {"warehouse.picked": {"never": True}}}, match={"key": "order-1/ship"}
            )
            await witness.script(
                {
                    "callbacks": {
                        "warehouse.picked": {"after": 0, "copies": 0},
                        "carrier.picked_up": {"after": 0},
                    }
                }
            )
            await witness.ship()
            await witness.ship("order-2/ship")
            [heard] = await there.hears(1)
            assert heard.event["type"] == "carrier.picked_up"
            assert heard.event["reference"] == "order-2/ship"


async def test_copies_are_the_same_event(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(quick("payment.captured", copies=2))
            await witness.charge(payment_method="pm-pending")
            first, second = await there.hears(2)
            assert first.headers["webhook-id"] == second.headers["webhook-id"]
            assert first.body == second.body


async def test_a_callback_is_tried_until_it_is_heard(tmp_path: Path) -> None:
    with receiver(503, 429, 302) as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(quick("payment.captured"))
            await witness.charge(payment_method="pm-pending")
            heard = await there.hears(4)
            assert len({each.headers["webhook-id"] for each in heard}) == 1
            for each in heard:
                verify(each)


async def test_a_rejected_callback_is_given_up_and_recorded(tmp_path: Path) -> None:
    with receiver(401) as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(quick("payment.captured"))
            await witness.charge(payment_method="pm-pending")

            async def given_up() -> bool:
                callbacks = (await witness.client.get("/callbacks")).json()
                return [each["outcome"] for each in callbacks] == ["given_up"]

            await until(given_up)
            assert len(there.heard) == 1


async def test_a_restart_settles_and_tells_what_was_left(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        await witness.script({"pending": {"settle": "applied", "after": 0.1}})
        await witness.charge()
        await witness.script({"pending": {"settle": "applied"}}, match={"instance": "order-2"})
        await witness.client.post(
            "/callbacks", json={"source": "carrier", "type": "carrier.lost", "reference": "r"}
        )
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await there.hears(2)
            assert sorted(there.types) == ["carrier.lost", "payment.captured"]
            assert await witness.effects() == ["payment.charge"]
        async with in_process(tmp_path, there.url) as witness:
            await witness.charge("order-3/charge", payment_method="pm-pending")
            await there.hears(3)
    assert sorted(there.types) == ["carrier.lost", "payment.captured", "payment.captured"]


async def test_a_long_reference_has_a_short_event_id(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(quick("payment.captured"))
            await witness.charge("order-1/" + ":" * 200, payment_method="pm-pending")
            [heard] = await there.hears(1)
            assert len(heard.headers["webhook-id"]) < 100
            assert heard.event["reference"].endswith(":::")


async def test_hand_made_callbacks(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            new = {"source": "signing", "type": "signed", "reference": "doc-1/send"}
            response = await witness.client.post(
                "/callbacks",
                json={**new, "event_id": "evt-1", "data": {"signer": "a"}, "copies": 2},
            )
            assert (response.status_code, response.json()) == (202, {"event_id": "evt-1"})
            await witness.client.post("/callbacks", json=new)
            heard = await there.hears(3)
            assert [each.headers["webhook-id"] for each in heard].count("evt-1") == 2
            assert heard[0].path == "/webhooks/signing"
            for each in heard:
                verify(each)
            bad = await witness.client.post("/callbacks", json={**new, "event_id": "two\nlines"})
            assert bad.status_code == 422
            for value in ("1e999", '"\\ud800"'):
                bad = await witness.client.post(
                    "/callbacks",
                    content=json.dumps({**new, "data": {"x": "?"}}).replace('"?"', value),
                    headers={"content-type": "application/json"},
                )
                assert bad.status_code == 422


def test_each_source_signs_with_its_own_secret() -> None:
    signers = Signers("default", {"carrier": "of-the-carrier"})
    made = [signers.of(source).headers("e", 1, "{}") for source in ("carrier", "payment")]
    expected = [Signer(secret).headers("e", 1, "{}") for secret in ("of-the-carrier", "default")]
    assert made == expected
    assert made[0] != made[1]


def test_the_signature_of_the_specification() -> None:
    """The example of the Standard Webhooks specification."""
    signer = Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(ValueError, match="not base64"):
        Signer("whsec_%")
