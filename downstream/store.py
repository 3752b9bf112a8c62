"""What the provider knows: rebuilt from the journal, and changed only together with it.

All of it is kept in memory, some KiB for a request: a new run wants a new directory.
"""

from bisect import bisect, bisect_left
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from downstream.counters import Counters
from downstream.journal import Journal, JournalError
from downstream.records import (
    TRANSACTION,
    AnyRecord,
    Attempt,
    Callback,
    Effect,
    Holding,
    Limit,
    Plan,
    StoredRequest,
    Taking,
)
from downstream.registers import Registers


class Store:
    """The newest version of every record.

    Raises:
        JournalError: the journal is in use, or holds a line that is not of this program.
    """

    def __init__(self, path: Path) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.effects: dict[int, Effect] = {}
        self.requests: dict[int, StoredRequest] = {}
        self.callbacks: dict[int, Callback] = {}
        self.plans: dict[tuple[int, str], Plan] = {}
        self.registers = Registers()
        self.counters = Counters()
        self._by_key: dict[tuple[str, str], int] = {}
        self._by_reference: dict[tuple[str, str], int] = {}
        # Numbers, and times that never go back, whatever the clock does.
        self._by_operation: defaultdict[str, tuple[list[int], list[datetime]]] = defaultdict(
            lambda: ([], [])
        )
        self._by_instance: defaultdict[str, tuple[list[int], list[int]]] = defaultdict(
            lambda: ([], [])
        )
        self._journal = Journal(path)
        for number, line in enumerate(self._journal.replay(), start=1):
            try:
                records = TRANSACTION.validate_json(line)
            except ValidationError as error:
                raise JournalError(
                    f"{path}, line {number} was not written by this version of the witness, or is "
                    f"damaged: choose another data directory, or remove this one; {error}"
                ) from error
            self._apply(records)

    def commit(self, *records: AnyRecord) -> Awaitable[None]:
        """Makes the records true at once and together, in the order of the calls.

        Returns:
            An awaitable that is done once they are on disk; no answer may show them before.

        Raises:
            JournalError: the disk failed, now or earlier.
        """
        line = TRANSACTION.dump_json(list(records))
        self._apply(list(records))
        return self._journal.append(line)

    async def settled(self) -> None:
        """Waits until all that could be read here so far is on disk.

        Raises:
            JournalError: some of it never will be.
        """
        await self._journal.settled()

    async def close(self) -> None:
        """Writes what is left and releases the journal."""
        await self._journal.close()

    def by_key(self, operation: str, key: str) -> StoredRequest | None:
        """The newest request of a key."""
        n = self._by_key.get((operation, key))
        return None if n is None else self.requests[n]

    def by_reference(self, operation: str, reference: str) -> StoredRequest | None:
        """The newest request of a client's reference; never forgotten."""
        n = self._by_reference.get((operation, reference))
        return None if n is None else self.requests[n]

    def by_operation(
        self, operation: str, after: int = 0, since: datetime | None = None
    ) -> Iterator[StoredRequest]:
        """An operation's requests, oldest first, behind number `after` and not before `since`."""
        numbers, times = self._by_operation.get(operation, ([], []))
        begin = max(bisect(numbers, after), bisect_left(times, since) if since else 0)
        return (self.requests[numbers[place]] for place in range(begin, len(numbers)))

    def ledger(self, instance: str | None) -> tuple[Iterator[Attempt], Iterator[Effect]]:
        """Attempts and effects, in order, of one instance or of all."""
        if instance is None:
            return iter(self.attempts.values()), iter(self.effects.values())
        attempts, effects = self._by_instance.get(instance, ([], []))
        return (self.attempts[n] for n in attempts), (self.effects[n] for n in effects)

    def instances(self) -> list[str]:
        """Every instance that was ever named in a request."""
        return list(self._by_instance)

    def arrivals(self) -> Counter[tuple[str, str]]:
        """How many attempts of each operation and key are known."""
        return Counter((each.operation, each.key) for each in self.attempts.values() if each.key)

    def new_effect(self, stored: StoredRequest, at: datetime, undoes: str | None = None) -> Effect:
        """The effect of a request, not committed yet; a transaction has room for one."""
        return Effect(
            n=len(self.effects) + 1,
            operation=stored.operation,
            key=stored.key,
            instance=stored.instance,
            at=at,
            provider_id=stored.provider_id,
            undoes=undoes,
            detail=stored.detail,
        )

    def carried_out(
        self, stored: StoredRequest, at: datetime
    ) -> Iterator[Effect | Holding | Taking]:
        """What becomes true when a do takes effect, now or later; not committed yet."""
        yield self.new_effect(stored, at)
        if holding := self.registers.taken_by(stored):
            yield holding
        yield from self.counters.settled(stored.n)

    def _apply(self, records: list[AnyRecord]) -> None:
        for record in records:
            match record:
                case Attempt():
                    if record.n not in self.attempts and record.instance is not None:
                        self._by_instance[record.instance][0].append(record.n)
                    self.attempts[record.n] = record
                case Effect():
                    self._by_instance[record.instance][1].append(record.n)
                    self.effects[record.n] = record
                case StoredRequest():
                    # An older request of a forgotten key may still change, but not come back.
                    if record.n not in self.requests:
                        self._by_key[record.operation, record.key] = record.n
                        self._by_reference[record.operation, record.reference] = record.n
                        numbers, times = self._by_operation[record.operation]
                        numbers.append(record.n)
                        times.append(max(record.at, times[-1]) if times else record.at)
                    self.requests[record.n] = record
                case Holding():
                    self.registers.apply(record)
                case Taking() | Limit():
                    self.counters.apply(record)
                case Plan(over=False):
                    self.plans[record.request, record.type] = record
                case Plan():
                    del self.plans[record.request, record.type]
                case Callback():
                    self.callbacks[record.n] = record
