"""Compare-and-set: an undo brings back the value before, unless somebody came between."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.downstream.kit import Witness, in_process, process, until


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    async with in_process(tmp_path) as running:
        yield running


async def test_the_version_before_comes_back(witness: Witness) -> None:
    assert await witness.registers() == {}
    assert await witness.authorize("dep-1", "v1") == "applied"
    assert await witness.authorize("dep-2", "v2") == "applied"
    assert await witness.authorize("dep-3", "v7", model="pricing") == "applied"
    assert await witness.registers() == {"scoring": "v2", "pricing": "v7"}
    first = await witness.restore("dep-2")
    assert (first.status_code, first.json()["result"]) == (200, "applied")
    assert first.json()["detail"] == {"restored": "v1"}
    assert (await witness.restore("dep-2")).json() == first.json()
    assert await witness.registers() == {"scoring": "v1", "pricing": "v7"}
    last = await witness.restore("dep-1")
    assert last.json()["detail"] == {"restored": None}
    assert await witness.registers() == {"pricing": "v7"}
    ledger = (await witness.client.get("/ledger", params={"instance": "dep-2"})).json()
    assert ledger["effects"][1]["detail"] == {
        "model": "scoring",
        "version": "v2",
        "restored": "v1",
    }


@pytest.mark.parametrize("newer", ["v2", "v1"])
async def test_a_newer_version_stays(witness: Witness, newer: str) -> None:
    await witness.authorize("dep-1", "v1")
    await witness.authorize("dep-2", newer)
    for _ in range(2):
        late = await witness.restore("dep-1")
        assert (late.status_code, late.json()["result"]) == (200, "closed")
        assert late.json()["reason"] == "superseded"
    assert await witness.registers() == {"scoring": newer}
    assert await witness.effects("dep-1") == ["ml.authorize"]
    # The key is closed all the same: a late authorize must not win over the newer one.
    assert await witness.authorize("dep-1", "v1") == "undone"
    assert (await witness.restore("dep-2")).json()["detail"] == {"restored": "v1"}


async def test_what_was_restored_can_be_undone_in_turn_but_not_twice(witness: Witness) -> None:
    for n in (1, 2, 3):
        await witness.authorize(f"dep-{n}", f"v{n}")
    for n in (3, 2):
        assert (await witness.restore(f"dep-{n}")).json()["detail"] == {"restored": f"v{n - 1}"}
    assert await witness.authorize("dep-3", "v3") == "undone"
    again = await witness.do("ml.restore_version", "dep-3/again", {"undoes": "dep-3/authorize"})
    assert (again.json()["result"], again.json()["reason"]) == ("closed", None)
    assert await witness.registers() == {"scoring": "v1"}


async def test_only_what_is_applied_sets_a_register(witness: Witness) -> None:
    await witness.script({"refuse": "frozen"}, times=1)
    assert await witness.authorize("dep-1", "v1") == "refused"
    await witness.restore("dep-2")
    assert await witness.authorize("dep-2", "v2") == "undone"
    await witness.script({"pending": {"settle": "applied", "after": 0.1}}, times=1)
    assert await witness.authorize("dep-3", "v3") == "pending"
    assert await witness.registers() == {}

    async def settled() -> bool:
        return await witness.registers() == {"scoring": "v3"}

    await until(settled)
    assert (await witness.restore("dep-3")).json()["detail"] == {"restored": None}


async def test_a_register_needs_its_fields(witness: Witness) -> None:
    wrong = await witness.do("ml.authorize", "dep-1/authorize", {"model": "scoring", "version": 1})
    assert (wrong.status_code, wrong.json()["detail"]) == (422, "version is not a non-empty string")
    for operation in ("ml.train", "ml.restore_version", "ml.nothing"):
        assert (await witness.client.get(f"/registers/{operation}")).status_code == 404


async def test_registers_survive_signal_9(tmp_path: Path) -> None:
    async with process(tmp_path) as witness:
        await witness.authorize("dep-1", "v1")
        await witness.authorize("dep-2", "v2")
        await witness.authorize("dep-3", "v3")
        await witness.restore("dep-3")
    async with process(tmp_path) as witness:
        assert await witness.registers() == {"scoring": "v2"}
        assert (await witness.restore("dep-1")).json()["reason"] == "superseded"
        assert (await witness.restore("dep-2")).json()["detail"] == {"restored": "v1"}
        assert await witness.registers() == {"scoring": "v1"}


async def test_a_bad_canary_is_refused(witness: Witness) -> None:
    good = await witness.do("ml.check_canary", "dep-1/check", {"model": "m", "version": "v1"})
    assert good.json()["result"] == "applied"
    bad = await witness.do("ml.check_canary", "dep-2/check", {"model": "m", "version": "v-bad"})
    assert (bad.json()["result"], bad.json()["reason"]) == ("refused", "canary_failed")
