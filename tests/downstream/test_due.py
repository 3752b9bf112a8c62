"""Events that happen when somebody says so, and services that are as well as they are told."""

from pathlib import Path

from tests.downstream.kit import in_process, receiver, until

PENDING = {"payment_method": "pm-pending"}
CAPTURED = {"operation": "payment.charge", "key": "order-1/charge", "type": "payment.captured"}
MUCH_LATER = {"callbacks": {"payment.captured": {"after": 3600}}}


async def test_a_planned_settlement_happens_now_and_once(tmp_path: Path) -> None:
    with receiver() as there:
        async with in_process(tmp_path, there.url) as witness:
            await witness.script(MUCH_LATER)
            assert (await witness.charge(**PENDING)).json()["result"] == "pending"
            answers = [await witness.client.post("/due", json=CAPTURED) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [202, 202]
            await there.hears(1)
            again = await witness.client.post("/due", json=CAPTURED)
            assert again.json() == {"planned": False}
            assert there.types == ["payment.captured"]
            assert await witness.effects() == ["payment.charge"]
            assert (await witness.charge(**PENDING)).json()["result"] == "applied"


async def test_what_was_brought_forward_survives_a_restart(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        await witness.script(MUCH_LATER)
        await witness.charge(**PENDING)
        await witness.client.post("/due", json=CAPTURED)
    async with in_process(tmp_path) as witness:

        async def settled() -> bool:
            return await witness.effects() == ["payment.charge"]

        await until(settled)


async def test_what_was_undone_does_not_happen_any_more(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        await witness.script(MUCH_LATER)
        await witness.charge(**PENDING)
        assert (await witness.refund()).json()["result"] == "closed"
        assert (await witness.client.post("/due", json=CAPTURED)).is_success

        async def over() -> bool:
            answer = await witness.client.post("/due", json=CAPTURED)
            return bool(answer.json() == {"planned": False})

        await until(over)
        assert await witness.effects() == []


async def test_nothing_is_due_of_what_nobody_knows(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        assert (await witness.client.post("/due", json=CAPTURED)).status_code == 404
        other = {**CAPTURED, "operation": "payment.steal"}
        assert (await witness.client.post("/due", json=other)).status_code == 404
        assert (await witness.client.post("/due", json={"key": "x"})).status_code == 422


async def test_a_service_is_as_well_as_it_is_told_to_be(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        client = witness.client

        async def health(query: str = "") -> int:
            return (await client.get(f"/health/service-1{query}")).status_code

        assert (await health(), await health("?until_told=503")) == (200, 503)
        assert (await client.put("/health/service-1", json={"status": 500})).status_code == 204
        assert (await health(), await health("?until_told=200")) == (500, 500)
        assert (await client.put("/health/service-1", json={"status": 200})).status_code == 204
        assert await health("?until_told=503") == 200
        assert (await client.get("/health/service-2")).status_code == 200
        for wrong in ({"status": 99}, {"status": 600}, {}, {"status": 200, "x": 1}):
            assert (await client.put("/health/service-1", json=wrong)).status_code == 422
        assert (await client.get("/health/service-1?until_told=99")).status_code == 422
        assert await witness.attempts("service-1") == []
