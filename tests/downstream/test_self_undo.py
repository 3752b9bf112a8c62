"""Operations that are their own undo: one path, and the body tells the two apart."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.downstream.kit import Witness, in_process

TOLD = {"to": "c-17", "template": "task_assigned"}
TAKEN_BACK = {"to": "c-17", "template": "task_cancelled", "undoes": "task-1/notify"}


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    async with in_process(tmp_path) as running:
        yield running


async def tell(witness: Witness, key: str = "task-1/notify") -> httpx.Response:
    return await witness.do("notifier.send", key, TOLD)


async def take_back(witness: Witness, key: str = "task-1/cancel", **more: Any) -> httpx.Response:
    return await witness.do("notifier.send", key, {**TAKEN_BACK, **more})


async def test_an_undo_is_a_second_effect_of_the_same_operation(witness: Witness) -> None:
    assert (await tell(witness)).json()["result"] == "applied"
    first = await take_back(witness)
    assert (first.status_code, first.json()["result"]) == (200, "applied")
    assert first.json()["detail"] == {"to": "c-17", "template": "task_cancelled"}
    again = await take_back(witness)
    assert (again.headers["Idempotent-Replayed"], again.json()) == ("true", first.json())
    late = await tell(witness)
    assert (late.status_code, late.json()["result"]) == (409, "undone")
    ledger = (await witness.client.get("/ledger", params={"instance": "task-1"})).json()
    rows = [(row["operation"], row["key"], row["undoes"]) for row in ledger["effects"]]
    assert rows == [
        ("notifier.send", "task-1/notify", None),
        ("notifier.send", "task-1/cancel", "task-1/notify"),
    ]
    assert ledger["effects"][1]["detail"]["template"] == "task_cancelled"


async def test_an_undo_before_its_do_sends_nothing_and_closes_the_key(witness: Witness) -> None:
    assert (await take_back(witness)).json()["result"] == "closed"
    assert (await tell(witness)).json()["result"] == "undone"
    found = (await witness.look_up("notifier.send", "task-1/notify")).json()
    assert (found["result"], found["detail"]) == ("undone", {})
    found = (await witness.look_up("notifier.send", "task-1/cancel")).json()
    assert (found["result"], found["detail"]["template"]) == ("closed", "task_cancelled")
    assert await witness.effects("task-1") == []


async def test_a_tile_of_the_dashboard_is_taken_back_too(witness: Witness) -> None:
    await witness.do("directory.update_dashboard", "task-1/show", {"state": "assigned"})
    body = {"state": "cancelled", "undoes": "task-1/show"}
    undo = await witness.do("directory.update_dashboard", "task-1/mark", body)
    assert (undo.json()["result"], undo.json()["detail"]) == ("applied", {"state": "cancelled"})


@pytest.mark.parametrize(
    ("undoes", "detail"),
    [
        (None, "undoes is not a non-empty string"),
        ("task-1/cancel", "undoes is the key of the request itself"),
        ("task-1/taken-back", "what it undoes is an undo itself"),
    ],
)
async def test_what_cannot_be_undone(witness: Witness, undoes: object, detail: str) -> None:
    await take_back(witness, "task-1/taken-back")
    response = await take_back(witness, undoes=undoes)
    assert (response.status_code, response.json()["detail"]) == (422, detail)
    assert await witness.attempts("task-1") == ["send closed", "send invalid"]
    # Nothing was stored under the key, nor closed.
    assert (await tell(witness, "task-1/cancel")).json()["result"] == "applied"
    assert (await take_back(witness, "task-1/taken-back")).json()["result"] == "closed"


async def test_do_and_undo_share_their_keys(witness: Witness) -> None:
    await tell(witness, "task-1/cancel")
    response = await take_back(witness)
    assert (response.status_code, response.json()["type"]) == (422, "urn:downstream:conflict")


async def test_what_is_declared_is_about_the_do(tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(
        """
        [operations."flag.raise"]
        undo = "flag.raise"
        fields = { colour = "string", "by.name" = "string" }
        rules = [{ when = { colour = "black" }, refuse = "no_such_flag" }, { pending = {} }]
        """
    )
    async with in_process(tmp_path, config=file) as witness:
        missing = await witness.do("flag.raise", "ship-1/raise", {"colour": "red"})
        assert missing.json()["detail"] == "by.name is missing"
        black = {"colour": "black", "by": {"name": "x"}}
        refused = await witness.do("flag.raise", "ship-1/raise", black)
        assert refused.json()["reason"] == "no_such_flag"
        undo = {"undoes": "ship-1/raise", "colour": 7}
        wrong = await witness.do("flag.raise", "ship-1/lower", undo)
        assert wrong.json()["detail"] == "colour is not a non-empty string"
        undone = await witness.do("flag.raise", "ship-1/lower", {**undo, "colour": "black"})
        assert undone.json()["result"] == "closed"


async def test_faults_can_be_scripted_for_either(witness: Witness) -> None:
    await witness.script({"pending": {}}, match={"operation": "notifier.send"})
    assert (await tell(witness)).json()["result"] == "pending"
    assert (await take_back(witness)).json()["result"] == "closed"
    assert await witness.fired() == [1]
    await witness.client.delete("/script")
    await witness.script({"too_late": True}, match={"operation": "notifier.send"})
    assert (await tell(witness, "task-2/notify")).json()["result"] == "applied"
    late = await take_back(witness, "task-2/cancel", undoes="task-2/notify")
    assert (late.status_code, late.json()["result"]) == (409, "too_late")
    assert await witness.fired() == [1]
