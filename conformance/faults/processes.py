"""One fault on one process or its links, with the proof that it happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from conformance.clients import GateClient
from conformance.clusters import LINKS_OF, Cluster, ClusterError, Victim
from conformance.events import Listener, Note

FROZEN = 3.0  # seconds that a victim is paused: its peers must notice, its leases must not end
APART = 3.0  # seconds that links are cut
BACK = 60.0  # seconds for a victim to answer again
WEDGED = 20.0  # seconds without a connected worker after which the sidecar is replaced
UNHEALED = 5.0  # the same, for a target that says that it does not heal a wedge by itself
NOT_WAITED_FOR = 0.5  # seconds after which a graceful stop is not made to wait for what we hold

Way = Literal["pass", "drop"]


@dataclass(frozen=True)
class Proof:
    """Whether a fault provably happened, and what shows it. Times are seconds since the epoch."""

    proven: bool
    text: str
    at: float
    healed_at: float


@dataclass(frozen=True)
class InFlight:
    """What becomes of the messages that are in flight when a fault is injected."""

    dispatch: Way
    completion: Way
    request: Way


def in_flight(victim: str, kind: str) -> InFlight:
    """Messages die with the process at either end of their link; others are only late.

    The gate itself loses what is held when a link is cut or a worker is given up. What is held by
    the time of the release came again and over a link that is whole: dropping it would lose it
    for ever although nobody had died.

    An answer of a turn that comes late is what a real zombie sends: the SDK gives what it has
    finished to whatever connection it has by then, for up to 30 s. Alone, daprd takes it for the
    turn that waits at that moment, or ignores it; it asks for the instance only. (With the preview
    feature WorkflowsClusteredDeployment it keeps it for the next turn: dapr/dapr#10482.)
    """
    if victim in ("app", "daprd") and kind == "kill":
        return InFlight("drop", "drop", "drop")
    if victim in ("app", "daprd") and kind == "stop":
        return InFlight("drop", "pass", "pass")
    return InFlight("pass", "pass", "pass")


async def inject(
    cluster: Cluster,
    gate: GateClient | None,
    victim: Victim,
    kind: str,
    release: Callable[[], Awaitable[None]],
    emit: Listener,
    *,
    patience: float = WEDGED,
) -> Proof:
    """Does it, heals it, and returns when everything answers again.

    `release` releases what the gates hold; it is called at the moment that belongs to the fault.

    Raises:
        ClusterError: the cluster does not obey, or does not come back.
    """
    at = time.time()
    match kind:
        case "kill":
            text = await _kill(cluster, victim)
            await release()
        case "stop":
            text = await _stop(cluster, victim, release)
        case "pause":
            text = await _pause(cluster, gate, victim)
            await release()
        case "cut":
            text = await _cut(cluster, gate, victim)
            await release()
        case _:
            raise ClusterError(f"there is no fault {kind}")
    await come_back(cluster, victim, emit, patience)
    return Proof(True, text, at, time.time())


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


async def _kill(cluster: Cluster, victim: Victim) -> str:
    before = cluster.identity(victim)
    await asyncio.to_thread(cluster.kill, victim)
    return f"SIGKILL, {before} is gone"


async def _stop(cluster: Cluster, victim: Victim, release: Callable[[], Awaitable[None]]) -> str:
    before = cluster.identity(victim)
    stopping = asyncio.create_task(asyncio.to_thread(cluster.terminate, victim))
    await asyncio.wait({stopping}, timeout=NOT_WAITED_FOR)
    await release()
    await stopping
    return f"SIGTERM, {before} has ended"


async def _pause(cluster: Cluster, gate: GateClient | None, victim: Victim) -> str:
    await asyncio.to_thread(cluster.pause, victim)
    began = time.monotonic()
    try:
        if cluster.state(victim) != "paused":
            raise ClusterError(f"{victim} does not pause: it is {cluster.state(victim)}")
        if victim == "app" and gate:
            await gate.sever()
        await asyncio.sleep(FROZEN)
        still = cluster.state(victim)
    finally:
        await asyncio.to_thread(cluster.resume, victim)
    if still != "paused":
        raise ClusterError(f"{victim} did not stay paused: it was {still}")
    return f"frozen for {time.monotonic() - began:.1f} s"


async def _cut(cluster: Cluster, gate: GateClient | None, victim: Victim) -> str:
    links = LINKS_OF[victim]
    await asyncio.to_thread(cluster.cut, *links)
    began = time.monotonic()
    try:
        if "app-sidecar" in links and gate:
            await gate.cut()
        seen = [await asyncio.to_thread(cluster.is_cut, link) for link in links]
        if not all(seen):
            whole = [link for link, cut in zip(links, seen, strict=True) if not cut]
            raise ClusterError(f"not cut: {', '.join(whole)}")
        await asyncio.sleep(APART)
    finally:
        await asyncio.to_thread(cluster.mend, *links)
        if "app-sidecar" in links and gate:
            await gate.restore()
    return f"{', '.join(links)} refused for {time.monotonic() - began:.1f} s"
