"""A provider that takes its time."""

from __future__ import annotations

from typing import ClassVar

from conformance.faults.kind import WitnessFault


class Slow(WitnessFault):
    """The first attempt of the effect is answered two seconds late.

    Proven by the witness's rule, which fired.
    """

    name = "slow"
    then: ClassVar = {"delay": 2.0}
