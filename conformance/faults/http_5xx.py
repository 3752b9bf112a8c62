"""A provider that says that it is out of order."""

from __future__ import annotations

from typing import ClassVar

from conformance.faults.kind import WitnessFault


class Http5xx(WitnessFault):
    """The first attempt of the effect is answered 503, and nothing was done.

    Proven by the witness's rule, which fired.
    """

    name = "5xx"
    then: ClassVar = {"status": 503}
