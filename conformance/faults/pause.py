"""Paused, and back as a zombie."""

from __future__ import annotations

import asyncio
import time

from conformance.faults.kind import FaultNotProven, HeldFault, Scene
from conformance.topology import VICTIMS

FROZEN = 3.0  # seconds that a victim is paused: its peers must notice, its leases must not end


class Pause(HeldFault):
    """SIGSTOP for three seconds: the process does nothing, and then goes on where it was.

    The worker of a paused application is given up by the gate, so that its work is dispatched
    again. An answer of a turn that comes late is what a real zombie sends: the SDK gives what it
    has finished to whatever connection it has by then, for up to 30 s. Alone, daprd takes it for
    the turn that waits at that moment, or ignores it; it asks for the instance only. (With the
    preview feature WorkflowsClusteredDeployment it keeps it for the next turn: dapr/dapr#10482.)
    Proven by the state of the process, at the beginning and at the end.
    """

    name = "pause"
    victims = VICTIMS
    included = "matrix"

    async def inject(self, scene: Scene) -> str:
        """Freezes it for a while."""
        cluster, victim = scene.cluster, scene.victim
        await asyncio.to_thread(cluster.pause, victim)
        began = time.monotonic()
        try:
            states = [cluster.state(victim)]
            if victim == "app" and scene.gate:
                await scene.gate.sever()
            await asyncio.sleep(FROZEN)
            states.append(cluster.state(victim))
        finally:
            await asyncio.to_thread(cluster.resume, victim)
        if set(states) != {"paused"}:
            raise FaultNotProven(f"{victim} was to be paused, and was {' and '.join(states)}")
        await scene.release()
        return f"frozen for {time.monotonic() - began:.1f} s"
