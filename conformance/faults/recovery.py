"""From a fault to the moment when everything answers again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from conformance.clusters import Cluster, ClusterError
from conformance.events import Listener, Note
from conformance.faults.kind import FaultNotProven, HeldFault, Scene
from conformance.topology import Victim

BACK = 60.0  # seconds for a victim to answer again
WEDGED = 20.0  # seconds without a connected worker after which the sidecar is replaced
UNHEALED = 5.0  # the same, for a target that says that it does not heal a wedge by itself


@dataclass(frozen=True)
class Proof:
    """Whether a fault provably happened, and what shows it. Times are seconds since the epoch."""

    proven: bool
    text: str
    at: float
    healed_at: float


async def inject(kind: HeldFault, scene: Scene, emit: Listener, patience: float) -> Proof:
    """Does it, undoes it, and returns when everything answers again.

    Raises:
        ClusterError: the cluster does not obey, or does not come back.
    """
    at, proven = time.time(), True
    try:
        text = await kind.inject(scene)
    except FaultNotProven as error:
        proven, text = False, str(error)
        await scene.release()
    await come_back(scene.cluster, scene.victim, emit, patience)
    return Proof(proven, text, at, time.time())


async def come_back(cluster: Cluster, victim: Victim, emit: Listener, patience: float) -> None:
    """Waits until everything is ready; a wedge that is not healed gets a new sidecar.

    Raises:
        ClusterError: something does not come back.
    """
    sidecar = cluster.identity("daprd")
    try:
        await asyncio.to_thread(cluster.wait_ready, timeout=patience)
    except ClusterError as error:
        if "no worker is connected" not in str(error):
            await asyncio.to_thread(cluster.wait_ready, timeout=BACK - patience)
            return
        text = f"the sidecar had no worker for {patience:.0f} s and got a successor"
        emit(Note(kind="wedge", text=text))
        await asyncio.to_thread(cluster.kill, "daprd")
        await asyncio.to_thread(cluster.wait_ready, timeout=BACK)
        return
    # A sidecar that was the victim itself is another one by now, and no wedge was healed.
    if victim != "daprd" and cluster.identity("daprd") != sidecar:
        emit(Note(kind="wedge", text="the application asked its wedged sidecar to stop"))
