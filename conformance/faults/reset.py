"""Reset before the answer."""

from __future__ import annotations

from conformance.clusters import Cluster
from conformance.faults.link import LinkFault


class Reset(LinkFault):
    """Every link of the process carries what is asked, and is reset before the answer, for 3 s.

    Ambiguous for the client, where `cut` is definite: what was asked may have been done. Proven
    by a connection over each link, which is opened, and reset once something is said.
    """

    name = "reset"
    included = "named"
    effect = "reset"

    def disturb(self, cluster: Cluster, link: str) -> None:
        """Lets Toxiproxy reset the link's connections at the first byte that comes back."""
        cluster.disturb(link, {"type": "reset_peer", "stream": "downstream"})

    def shows(self, cluster: Cluster, link: str) -> bool:
        """Whether a connection is reset; not one of our servers keeps silent at this."""
        try:
            with cluster.connect(link) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                connection.recv(1)
        except ConnectionResetError:
            return True
        return False
