"""Stopped, as a deployment does it."""

from __future__ import annotations

import asyncio

from conformance.faults.kind import HeldFault, Scene
from conformance.gates.rules import InFlightPolicy
from conformance.topology import VICTIMS

NOT_WAITED_FOR = 0.5  # seconds after which a graceful stop is not made to wait for what we hold


class Stop(HeldFault):
    """SIGTERM: the process ends in its own way, and is started again.

    It may still answer what it is at, so only what is on its way to it is dropped. Proven by the
    process that has ended.
    """

    name = "stop"
    victims = VICTIMS

    def in_flight(self, victim: str) -> InFlightPolicy:
        """Work that the application or its sidecar has not begun yet dies with it."""
        return InFlightPolicy(dispatch="drop" if victim in ("app", "daprd") else "pass")

    async def inject(self, scene: Scene) -> str:
        """Asks it to end, and lets go of what it may be waiting for."""
        before = scene.cluster.identity(scene.victim)
        ending = asyncio.create_task(asyncio.to_thread(scene.cluster.terminate, scene.victim))
        await asyncio.wait({ending}, timeout=NOT_WAITED_FOR)
        await scene.release()
        await ending
        return f"SIGTERM, {before} has ended"
