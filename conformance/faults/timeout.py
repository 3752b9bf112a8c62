"""A provider that never answers."""

from __future__ import annotations

from typing import ClassVar

from conformance.faults.kind import WitnessFault


class Timeout(WitnessFault):
    """The first attempt of the effect gets no answer: the application's own timeout ends it.

    Proven by the witness's rule, which fired.
    """

    name = "timeout"
    then: ClassVar = {"hang": True}
