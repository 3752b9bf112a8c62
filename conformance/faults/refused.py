"""A provider that cannot be reached."""

from __future__ import annotations

from conformance.faults.cut import Cut
from conformance.plan.points import MeasuredPath, Point


class Refused(Cut):
    """The witness is cut off for three seconds while requests to it are under way.

    Definite for the application: what is refused was not done. Proven as `cut` is.
    """

    name = "refused"
    victims = ("witness",)
    alias = "outage:refused"
    included = "all"

    def points(self, path: MeasuredPath) -> list[Point]:
        """Before each effect."""
        return path.effects
