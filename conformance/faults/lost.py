"""A provider whose answer is lost."""

from __future__ import annotations

from typing import ClassVar

from conformance.faults.kind import WitnessFault


class Lost(WitnessFault):
    """The first attempt takes effect, and its answer is lost: the connection breaks instead.

    Proven by the witness's rule, which fired.
    """

    name = "lost"
    then: ClassVar = {"drop": True}
