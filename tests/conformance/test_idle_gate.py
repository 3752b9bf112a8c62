"""The instrument does not change what it measures: with the gate idle and without one, the ledgers
are the same, fault-free and under kills.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from conformance.client import Witness
from conformance.clusters import Cluster, Options, Victim
from conformance.clusters.processes import Processes
from conformance.contract import load
from conformance.crowd import Crowd, Member
from conformance.points import script
from tests.conformance.conftest import ROOT

TARGET = load(ROOT / "target.toml")
PATHS = (
    "order_fulfilment/fulfilled",
    "order_fulfilment/not-served",
    "order_fulfilment/cancelled",
    "task_processing/done",
    "task_processing/dashboard-refused",
    "model_deployment/bad-canary",
    "approval/approved",
    "approval/rejected",
    "document_signing/declined",
    "health_monitor/stopped",
)
KILLS: tuple[tuple[int, Victim], ...] = ((8, "app"), (25, "daprd"), (40, "placement"))
DEADLINE = 120.0  # seconds

Ledger = list[tuple[str, str, str | None]]


def test_ledgers_are_the_same_with_an_idle_gate_and_without_one(tmp_path: Path) -> None:
    with_gate = ledgers(tmp_path / "with", gated=True)
    without = ledgers(tmp_path / "without", gated=False)
    assert with_gate == without
    for kind in ("calm", "killed"):
        assert {name for made, name in with_gate if made == kind} == set(PATHS)
        assert all(with_gate[kind, name] == with_gate["calm", name] for name in PATHS)


def ledgers(work: Path, *, gated: bool) -> dict[tuple[str, str], Ledger]:
    cluster = Processes(Options(target=TARGET, work=work, store="sqlite", gated=gated))
    cluster.start()
    try:
        calm = asyncio.run(live(cluster, "calm", kills=()))
        killed = asyncio.run(live(cluster, "killed", kills=KILLS))
    finally:
        cluster.stop()
    return calm | killed


async def live(
    cluster: Cluster, tag: str, kills: tuple[tuple[int, Victim], ...]
) -> dict[tuple[str, str], Ledger]:
    paths = [path for path in TARGET.paths() if path.name in PATHS]
    members = [Member(f"{tag}-{n}", path) for n, path in enumerate(paths)]
    witness = Witness(cluster.witness)
    await witness.script([rule for member in members for rule in script(member)])
    before = len((await witness.ledger())["attempts"])
    # Driven alike in both: nobody asks the gate, which only lets through what comes.
    async with Crowd(members, cluster.values, None, witness) as crowd:
        crowd.start()
        for attempts, victim in kills:
            await attempted(witness, before + attempts)
            await asyncio.to_thread(cluster.kill, victim)
        await crowd.settle(time.monotonic() + DEADLINE)
    found = {}
    for member in members:
        assert member.ended, f"{member.path.name}: {member.look} {member.failure}"
        rows = (await witness.ledger(member.id))["effects"]
        found[tag, member.path.name] = [told(row, member.id) for row in rows]
    await witness.clear()
    await witness.close()
    return found


async def attempted(witness: Witness, count: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            if len((await witness.ledger())["attempts"]) >= count:
                return
            await asyncio.sleep(0.05)


def told(effect: dict[str, Any], id: str) -> tuple[str, str, str | None]:
    undoes = effect["undoes"]
    return (
        effect["operation"],
        effect["key"].replace(id, "{id}"),
        undoes.replace(id, "{id}") if undoes else None,
    )
