"""Cut off."""

from __future__ import annotations

from typing import ClassVar

from conformance.clusters import Cluster
from conformance.faults.kind import Included
from conformance.faults.link import LinkFault


class Cut(LinkFault):
    """Every link of the process breaks, and refuses connections for three seconds.

    Proven by a connection over each link, which is refused.
    """

    name = "cut"
    included: ClassVar[Included] = "matrix"
    effect = "refused"

    def disturb(self, cluster: Cluster, link: str) -> None:
        """Cuts the link."""
        cluster.cut(link)

    def shows(self, cluster: Cluster, link: str) -> bool:
        """Whether a connection is refused."""
        try:
            cluster.connect(link).close()
        except ConnectionRefusedError:
            return True
        return False
