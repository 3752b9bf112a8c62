"""What every register holds: values set by deeds, and given back to the deed before."""

from downstream.facts import Deed, Holding


class Registers:
    """The holdings of every register, each linked to the one that it replaced."""

    def __init__(self) -> None:
        self._holdings: dict[int, Holding] = {}
        # The deed that each register has its value from, by operation and name.
        self._holders: dict[tuple[str, str], int | None] = {}

    def learn(self, fact: Holding) -> None:
        """Takes a fact of the journal."""
        self._holdings[fact.deed] = fact
        self._holders[fact.operation, fact.name] = fact.before if fact.over else fact.deed

    def values(self, operation: str) -> dict[str, str]:
        """The registers of an operation that hold a value."""
        return {
            name: self._holdings[deed].value
            for (owner, name), deed in self._holders.items()
            if owner == operation and deed is not None
        }

    def taken_by(self, deed: Deed) -> Holding | None:
        """What becomes true of registers when the deed is applied; not committed yet."""
        if deed.sets is None:
            return None
        name = deed.sets.name
        return Holding(
            deed=deed.n,
            operation=deed.operation,
            name=name,
            value=deed.sets.value,
            before=self._holders.get((deed.operation, name)),
        )

    def given_back_by(self, deed: Deed) -> Holding | None:
        """The end of what the deed has set; `None` when another deed has set it since."""
        holding = self._holdings[deed.n]
        if self._holders[holding.operation, holding.name] != deed.n:
            # The same value is not enough: whoever set it again relies on it.
            return None
        return holding.model_copy(update={"over": True})

    def value_before(self, holding: Holding) -> str | None:
        """The value that a holding has replaced; `None` when there was none."""
        return None if holding.before is None else self._holdings[holding.before].value
