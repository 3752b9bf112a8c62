"""Killed."""

from __future__ import annotations

import asyncio

from conformance.faults.kind import HeldFault, Scene
from conformance.gates.rules import InFlightPolicy
from conformance.topology import VICTIMS


class Kill(HeldFault):
    """SIGKILL: the process is gone, and is started again at once.

    Messages die with the process at either end of their link: what the gate holds of the
    application or its sidecar is dropped. Proven by the process that is gone.
    """

    name = "kill"
    victims = VICTIMS
    included = "matrix"

    def in_flight(self, victim: str) -> InFlightPolicy:
        """Nothing outlives the application or its sidecar."""
        if victim in ("app", "daprd"):
            return InFlightPolicy(dispatch="drop", completion="drop", request="drop")
        return InFlightPolicy()

    async def inject(self, scene: Scene) -> str:
        """Kills it."""
        before = scene.cluster.identity(scene.victim)
        await asyncio.to_thread(scene.cluster.kill, scene.victim)
        await scene.release()
        return f"SIGKILL, {before} is gone"
