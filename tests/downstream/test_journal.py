"""What is on disk, and what is made of it after a crash."""

import asyncio
import os
from pathlib import Path

import pytest

from downstream.journal import Journal, JournalError
from tests.downstream.kit import in_process


async def test_lines_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "journal")
    lines = [str(n).encode() for n in range(100)]
    await asyncio.gather(*(journal.append(line) for line in lines))
    await journal.close()
    assert [line.strip() for line in Journal(tmp_path / "deep" / "journal").replay()] == lines


async def test_what_waits_shares_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = 0
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        fsync(descriptor)

    journal = Journal(tmp_path / "journal")
    monkeypatch.setattr(os, "fsync", counted)
    await asyncio.gather(*(journal.append(b"line") for _ in range(100)))
    assert synced == 1
    await journal.close()


async def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    async with in_process(tmp_path) as witness:
        await witness.charge()
    file = tmp_path / "journal.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    for _ in range(2):
        async with in_process(tmp_path) as witness:
            assert (await witness.charge()).headers["Idempotent-Replayed"] == "true"
            assert await witness.effects() == ["payment.charge"]
    assert file.read_bytes().startswith(whole)


async def test_a_line_that_cannot_be_read_stops_it_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("[]\n{\n[]\n")
    with pytest.raises(JournalError, match=r"line 2 .* choose another data directory"):
        async with in_process(tmp_path):
            pass


async def test_only_one_process_at_a_time(tmp_path: Path) -> None:
    async with in_process(tmp_path):
        with pytest.raises(JournalError, match="in use"):
            async with in_process(tmp_path):
                pass


async def test_no_answer_shows_what_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError("no space left on device")

    async with in_process(tmp_path) as witness:
        monkeypatch.setattr(os, "fsync", full)
        assert (await witness.charge()).status_code == 503
        monkeypatch.undo()
        assert (await witness.charge()).status_code == 503
        assert (await witness.look_up("payment.charge", "order-1/charge")).status_code == 503
        assert (await witness.client.get("/ledger")).status_code == 503
        assert (await witness.client.get("/livez")).status_code == 503
