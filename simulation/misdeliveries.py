"""Which work items meet which fault of delivery."""

from __future__ import annotations

from collections.abc import Callable

from simulation.schedule import Misdelivery


class Misdeliveries:
    """The faults of delivery that are due, each fired once."""

    def __init__(self, fired: Callable[[int, str], None]) -> None:
        self._fired = fired
        self._rules: list[tuple[int, Misdelivery]] = []
        self._seen: dict[int, int] = {}

    def disturb(self, number: int, spec: Misdelivery) -> None:
        """From now on items are counted for it."""
        self._rules.append((number, spec))

    def of(self, item: str, instance: str) -> str:
        """The fault of this item; empty, when it has none."""
        for number, spec in self._rules:
            if spec.item != item or spec.instance not in instance:
                continue
            self._seen[number] = self._seen.get(number, 0) + 1
            if self._seen[number] == spec.nth:
                self._rules.remove((number, spec))
                self._fired(number, f"{item} of {instance} {spec.fault}")
                return spec.fault
        return ""
