"""What faults of links have in common: every link of the victim is disturbed for a while."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from contextlib import suppress

from conformance.clusters import Cluster
from conformance.faults.kind import FaultNotProven, HeldFault, Scene
from conformance.topology import VICTIMS

DISTURBED = 3.0  # seconds


class LinkFault(HeldFault):
    """A fault of all links of a victim, for three seconds; `effect` says in a word what they do.

    The gRPC streams between application and sidecar break at the gate meanwhile.
    """

    victims = VICTIMS
    effect: str

    @abstractmethod
    def disturb(self, cluster: Cluster, link: str) -> None:
        """Begins it on one link. `Cluster.restore` must end it."""

    @abstractmethod
    def shows(self, cluster: Cluster, link: str) -> bool:
        """Whether a connection over the link meets it just now; an `OSError` is no proof."""

    async def inject(self, scene: Scene) -> str:
        """Disturbs the links for a while."""
        cluster, links = scene.cluster, scene.cluster.topology.links_of(scene.victim)
        gate = scene.gate if "app-daprd" in links else None
        began = time.monotonic()
        try:
            for link in links:
                await asyncio.to_thread(self.disturb, cluster, link)
            if gate:
                await gate.cut()
            shown = [await asyncio.to_thread(self._shows, cluster, link) for link in links]
            await asyncio.sleep(DISTURBED if all(shown) else 0)
        finally:
            await asyncio.to_thread(cluster.restore, *links)
            if gate:
                await gate.restore()
        if not all(shown):
            whole = [link for link, seen in zip(links, shown, strict=True) if not seen]
            raise FaultNotProven(f"not {self.effect}: {', '.join(whole)}")
        await scene.release()
        return f"{', '.join(links)} {self.effect} for {time.monotonic() - began:.1f} s"

    def _shows(self, cluster: Cluster, link: str) -> bool:
        with suppress(OSError):
            return self.shows(cluster, link)
        return False
