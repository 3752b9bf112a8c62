"""What every register holds: values set by requests, and given back to the request before."""

from downstream.records import Holding, StoredRequest


class Registers:
    """The holdings of every register, each linked to the one that it replaced."""

    def __init__(self) -> None:
        self._holdings: dict[int, Holding] = {}
        # The request that each register has its value from, by operation and name.
        self._holders: dict[tuple[str, str], int | None] = {}

    def apply(self, record: Holding) -> None:
        """Applies a record of the journal."""
        self._holdings[record.request] = record
        self._holders[record.operation, record.name] = (
            record.before if record.over else record.request
        )

    def values(self, operation: str) -> dict[str, str]:
        """The registers of an operation that hold a value."""
        return {
            name: self._holdings[request].value
            for (owner, name), request in self._holders.items()
            if owner == operation and request is not None
        }

    def taken_by(self, stored: StoredRequest) -> Holding | None:
        """What becomes true of registers when the request is applied; not committed yet."""
        if stored.sets is None:
            return None
        name = stored.sets.name
        return Holding(
            request=stored.n,
            operation=stored.operation,
            name=name,
            value=stored.sets.value,
            before=self._holders.get((stored.operation, name)),
        )

    def given_back_by(self, stored: StoredRequest) -> Holding | None:
        """The end of what the request has set; `None` when another request has set it since."""
        holding = self._holdings[stored.n]
        if self._holders[holding.operation, holding.name] != stored.n:
            # The same value is not enough: the request that set it again relies on it.
            return None
        return holding.model_copy(update={"over": True})

    def value_before(self, holding: Holding) -> str | None:
        """The value that a holding has replaced; `None` when there was none."""
        return None if holding.before is None else self._holdings[holding.before].value
