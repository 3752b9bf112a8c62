"""The instrument does not change what it measures: with the gate idle and without one, the ledgers
are the same, fault-free and under kills.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from conformance.clients import WitnessClient
from conformance.clusters import Cluster, Options, Stores
from conformance.clusters.processes import Processes
from conformance.plan.contract import load
from conformance.plan.injection import script
from conformance.run.driver import Driver
from conformance.run.trial import Trial
from conformance.topology import Victim
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
    cluster = Processes(Options(TARGET, work, Stores.both("sqlite"), gated=gated))
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
    trials = [Trial(f"{tag}-{n}", path) for n, path in enumerate(paths)]
    witness = WitnessClient(cluster.witness)
    await witness.script([rule for trial in trials for rule in script(trial.path, trial.id)])
    before = len((await witness.ledger())["attempts"])
    # Driven alike in both: nobody asks the gate, which only lets through what comes.
    async with Driver(trials, cluster.values, None, witness) as driver:
        driver.start()
        for attempts, victim in kills:
            await attempted(witness, before + attempts)
            await asyncio.to_thread(cluster.kill, victim)
        await driver.settle(time.monotonic() + DEADLINE)
    found = {}
    for trial in trials:
        assert trial.ended, f"{trial.path.name}: {trial.status.document} {trial.failure}"
        rows = (await witness.ledger(trial.id))["effects"]
        found[tag, trial.path.name] = [told(row, trial.id) for row in rows]
    await witness.clear()
    await witness.close()
    return found


async def attempted(witness: WitnessClient, count: int) -> None:
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
