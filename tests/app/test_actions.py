"""What an operator does to an instance: 200 is done, 202 will be; who did it, and why, is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from store import audit_trail, interventions, records
from tests.support.fake_engine import FakeEngine
from tests.support.site import Site, bearer, site
from workflows.messages import DirectionChange, Ending, Incident

ID = "order-1"
OPERATOR = bearer("op-1", "operator")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def office(tmp_path: Path, engine: FakeEngine) -> AsyncIterator[Site]:
    """A site with an order under way, on an engine that obeys."""
    async with site(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}", engine=engine) as made:
        await under_way(made, engine)
        yield made


async def under_way(
    office: Site, engine: FakeEngine, id: str = ID, kind: str = "order_fulfilment", **values: Any
) -> None:
    async with office.store.transaction() as tx:
        await records.accept(
            tx, id=id, kind=kind, idempotency_key=None, request_hash="h", input={"signers": []}
        )
        await records.mark_scheduled(tx, id)
        await records.progress(tx, id, **{"status": "WAITING", "waiting_for": "x", **values})
    engine.statuses[id] = "RUNNING"


async def act(office: Site, what: str, body: Any = None, id: str = ID) -> httpx.Response:
    return await office.http.post(f"/workflows/{id}/{what}", json=body, headers=OPERATOR)


async def trail(office: Site, id: str = ID) -> list[tuple[str, str, str | None]]:
    answer = await office.http.get(f"/approvals/{id}/audit", headers=OPERATOR)
    return [(row["who"], row["what"], row["note"]) for row in answer.json()["items"]]


async def record(office: Site, id: str = ID) -> Any:
    async with office.store.reading() as tx:
        return await records.get(tx, id)


async def ask(office: Site, id: str = ID) -> str:
    """Parks it for a person; returns the intervention's id."""
    incident = Incident(instance=id, key=f"{id}/notify", n=1, kind="step_failed", reason="r")
    async with office.store.transaction() as tx:
        await interventions.open_(tx, incident)
        await interventions.read_resolution(tx, incident)
    return incident.id


async def test_nobody_is_promised_a_retry_of_what_nothing_waits_for(office: Site) -> None:
    skipped = Incident(
        instance=ID, key=f"{ID}/confirm", n=1, kind="step_failed", reason="r", blocking=False
    )
    async with office.store.transaction() as tx:
        await interventions.open_(tx, skipped)
    path = f"/interventions/{skipped.id}"
    answers = []
    for action in ("retry", "settled"):
        body = {"action": action, "note": "by hand"}
        answers.append(await office.http.post(path, json=body, headers=OPERATOR))
    assert [answer.status_code for answer in answers] == [409, 200]
    assert answers[0].json()["title"] == "Nothing would try it again"
    assert answers[1].json()["action"] == "settled"


@pytest.mark.parametrize("what", ["cancel", "suspend", "resume", "terminate"])
async def test_who_did_it_and_why_is_kept(office: Site, what: str) -> None:
    answer = await act(office, what, {"reason": "the customer called"})
    assert answer.status_code in (200, 202)
    assert await trail(office) == [("op-1", what, "the customer called")]
    before = len(await trail(office))
    await act(office, what)
    assert all(note is None for *_, note in (await trail(office))[before:])


async def test_the_reason_of_a_retry_answers_what_was_asked(office: Site) -> None:
    asked = await ask(office)
    assert (await act(office, "retry", {"reason": "it is mended"})).status_code == 200
    async with office.store.reading() as tx:
        row = await interventions.get(tx, asked)
    assert row is not None
    assert (row["action"], row["note"], row["answered_by"]) == ("retry", "it is mended", "op-1")
    assert await trail(office) == [("op-1", "retry", "it is mended")]


async def test_the_reason_of_a_rollback_is_kept(office: Site, engine: FakeEngine) -> None:
    await under_way(office, engine, "model-1", "model_deployment")
    async with office.store.transaction() as tx:
        await records.end(tx, Ending(instance="model-1", outcome="READY"))
    body = {"reason": "it is worse"}
    answer = await office.http.post("/deployments/model-1/rollback", json=body, headers=OPERATOR)
    assert answer.status_code == 202
    assert await trail(office, "model-1") == [("op-1", "rollback", "it is worse")]


@pytest.mark.parametrize(
    "body", [{"reason": ""}, {"reason": "x" * 2001}, {"reason": "a\0b"}, {"why": "x"}, "x", [1]]
)
@pytest.mark.parametrize("what", ["cancel", "suspend", "resume", "retry", "terminate"])
async def test_a_reason_that_makes_no_sense_changes_nothing(
    office: Site, engine: FakeEngine, what: str, body: Any
) -> None:
    before = await record(office)
    assert (await act(office, what, body)).status_code == 422
    assert (await record(office), await trail(office)) == (before, [])
    assert not engine.calls


@pytest.mark.parametrize(
    ("what", "status", "shown"),
    [("suspend", 200, "SUSPENDED"), ("resume", 200, "WAITING"), ("terminate", 202, "ENDED")],
)
async def test_what_the_engine_did_at_once_is_done(
    office: Site, what: str, status: int, shown: str
) -> None:
    answer = await act(office, what)
    assert (answer.status_code, answer.json()["status"]) == (status, shown)
    assert (await record(office))["control_at"] is None


@pytest.mark.parametrize("what", ["suspend", "resume", "terminate"])
async def test_202_is_a_promise_that_is_kept(office: Site, engine: FakeEngine, what: str) -> None:
    """The engine is away; whoever was told so need not ask again."""
    engine.away = True
    answer = await act(office, what, {"reason": "now"})
    assert answer.status_code == 202
    assert answer.json()["status"] == ("SUSPENDED" if what == "suspend" else "WAITING")
    assert (await record(office))["control_at"] is not None
    engine.away = False
    assert await office.services.relay.control(ID)
    wanted = {"suspend": "SUSPENDED", "resume": "RUNNING", "terminate": "TERMINATED"}
    assert engine.statuses[ID] == wanted[what]
    row = await record(office)
    assert row["control_at"] is None
    assert row["outcome"] == ("TERMINATED" if what == "terminate" else None)


@pytest.mark.parametrize("what", ["cancel", "suspend", "resume", "retry", "terminate"])
async def test_who_tries_without_the_role_is_in_the_trail(
    office: Site, engine: FakeEngine, what: str
) -> None:
    before = await record(office)
    for path in (f"/workflows/{ID}/{what}", f"/interventions/{ID}/notify/1"):
        answer = await office.http.post(path, json={}, headers=bearer("a-1", "approver"))
        assert answer.status_code == 403
    for path in ("/interventions", "/audit/findings"):  # looking writes nothing
        answer = await office.http.get(path, headers=bearer("a-1", "approver"))
        assert answer.status_code == 403
    assert await trail(office) == [("a-1", what, None), ("a-1", "answer", None)]
    assert (await record(office), dict(engine.calls)) == (before, {})


@pytest.mark.parametrize("id", ["a%00b", "%2e%2e", "nobody", "x" * 300, "a||b", "\u00e4"])
async def test_who_may_not_is_told_so_whatever_the_path_says(database_url: str, id: str) -> None:
    async with site(database_url, engine=FakeEngine()) as office:
        answer = await office.http.post(
            f"/workflows/{id}/cancel", headers=bearer("a-1", "approver")
        )
    assert answer.status_code in (403, 422)


async def test_whoever_tries_for_ever_fills_nobodys_disk_and_is_noticed(office: Site) -> None:
    for _ in range(audit_trail.REFUSALS + 5):
        path = f"/workflows/{ID}/cancel"
        answer = await office.http.post(path, headers=bearer("a-1", "approver"))
        assert answer.status_code == 403
    async with office.store.reading() as tx:
        assert len(await audit_trail.page(tx, ID, 0, 1000)) == audit_trail.REFUSALS
        (alert,) = await interventions.of_instance(tx, ID)
    assert (alert["kind"], alert["blocking"]) == ("forged", False)


async def test_terminate_says_where_what_was_left_standing_is_listed(office: Site) -> None:
    where = (await act(office, "terminate")).headers["location"]
    assert where == f"/interventions/{ID}/terminate/1"
    shown = await office.http.get("/interventions", headers=OPERATOR)
    assert [one["id"] for one in shown.json()["items"]] == [f"{ID}/terminate/1"]


async def test_retry_rings_what_is_held_for_the_reconciliation_loop(
    office: Site, engine: FakeEngine
) -> None:
    held = {"step": "create_config", "waiting_for": "reconcile"}
    await under_way(office, engine, "model-1", "model_deployment", **held)
    answer = await act(office, "retry", {"reason": "it is there now"}, "model-1")
    assert (answer.status_code, answer.json()["phase"]) == (200, "CONFIG_PENDING")
    assert engine.calls["raise_event reconcile model-1"] == 1
    assert await trail(office, "model-1") == [("op-1", "retry", "it is there now")]


async def test_a_retry_that_the_engine_missed_is_no_error(office: Site, engine: FakeEngine) -> None:
    held = {"step": "create_config", "waiting_for": "reconcile"}
    await under_way(office, engine, "model-1", "model_deployment", **held)
    engine.away = True
    assert (await act(office, "retry", None, "model-1")).status_code == 200


async def test_there_is_nothing_to_retry_where_nobody_is_asked(
    office: Site, engine: FakeEngine
) -> None:
    answer = await act(office, "retry")
    assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (409, "not-parked")
    assert (await trail(office), dict(engine.calls)) == ([], {})


async def test_of_two_who_retry_one_did(office: Site) -> None:
    await ask(office)
    said = [(await act(office, "retry")).status_code for _ in range(2)]
    assert said == [200, 409]
    assert len(await trail(office)) == 1


@pytest.mark.parametrize("what", ["cancel", "suspend", "resume", "retry", "terminate"])
async def test_nothing_is_done_to_what_has_ended_or_never_was(office: Site, what: str) -> None:
    assert (await act(office, what, id="nobody")).status_code == 404
    async with office.store.transaction() as tx:
        await records.end(tx, Ending(instance=ID, outcome="FULFILLED"))
    answer = await act(office, what)
    assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (409, "ended")
    assert await trail(office) == []


async def test_a_cancel_behind_the_pivot_is_told_so(office: Site) -> None:
    async with office.store.transaction() as tx:
        await records.pass_pivot(tx, ID)
    answer = await act(office, "cancel")
    assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (409, "too-late")
    assert await trail(office) == []


async def test_a_cancel_is_no_pivot_of_one_that_turned_down(office: Site) -> None:
    async with office.store.transaction() as tx:
        await records.turn(tx, DirectionChange(instance=ID, direction="down", reason="r"))
        await records.pass_pivot(tx, ID)
    assert (await act(office, "cancel")).status_code == 202


async def test_versions_can_be_told_apart_in_the_list(office: Site, engine: FakeEngine) -> None:
    await under_way(office, engine, "old", version="v1")
    await under_way(office, engine, "new", version="v2")

    async def listed(**params: str) -> list[str]:
        answer = await office.http.get("/workflows", params=params, headers=OPERATOR)
        return [one["id"] for one in answer.json()["items"]]

    assert await listed(version="v1") == ["old"]
    assert await listed(version="v2", status="WAITING") == ["new"]
    assert await listed(version="v3") == []
    assert (await office.http.get("/workflows/old", headers=OPERATOR)).json()["version"] == "v1"


async def test_who_controls_a_monitor_is_kept_once_for_each_event(
    office: Site, engine: FakeEngine
) -> None:
    await under_way(office, engine, id="m-1", kind="health_monitor")
    for _ in range(2):
        answer = await office.http.post(
            "/monitors/m-1/control", json={"event_id": "e-1", "action": "pause"}, headers=OPERATOR
        )
        assert answer.status_code == 202
    assert await trail(office, "m-1") == [("op-1", "pause", None)]
