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
from downstream.facts import (
    TRANSACTION,
    AnyFact,
    Attempt,
    Callback,
    Deed,
    Effect,
    Holding,
    Limit,
    Plan,
    Taking,
)
from downstream.journal import Journal, JournalError
from downstream.registers import Registers


class Store:
    """The newest version of every fact.

    Raises:
        JournalError: the journal is in use, or holds a line that is not of this program.
    """

    def __init__(self, path: Path) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.effects: dict[int, Effect] = {}
        self.deeds: dict[int, Deed] = {}
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
                facts = TRANSACTION.validate_json(line)
            except ValidationError as error:
                raise JournalError(f"{path}, line {number}: {error}") from error
            self._learn(facts)

    def commit(self, *facts: AnyFact) -> Awaitable[None]:
        """Makes the facts true at once and together, in the order of the calls.

        Returns:
            An awaitable that is done once they are on disk; nobody may be told of them before.

        Raises:
            JournalError: the disk failed, now or earlier.
        """
        line = TRANSACTION.dump_json(list(facts))
        self._learn(list(facts))
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

    def by_key(self, operation: str, key: str) -> Deed | None:
        """The newest deed of a key."""
        n = self._by_key.get((operation, key))
        return None if n is None else self.deeds[n]

    def by_reference(self, operation: str, reference: str) -> Deed | None:
        """The newest deed of a client's reference; never forgotten."""
        n = self._by_reference.get((operation, reference))
        return None if n is None else self.deeds[n]

    def by_operation(
        self, operation: str, after: int = 0, since: datetime | None = None
    ) -> Iterator[Deed]:
        """The deeds of an operation, oldest first, behind number `after` and not before `since`."""
        numbers, times = self._by_operation.get(operation, ([], []))
        begin = max(bisect(numbers, after), bisect_left(times, since) if since else 0)
        return (self.deeds[numbers[place]] for place in range(begin, len(numbers)))

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

    def new_effect(self, deed: Deed, at: datetime, undoes: str | None = None) -> Effect:
        """The effect of a deed, not committed yet; a transaction has room for one."""
        return Effect(
            n=len(self.effects) + 1,
            operation=deed.operation,
            key=deed.key,
            instance=deed.instance,
            at=at,
            provider_id=deed.provider_id,
            undoes=undoes,
            detail=deed.detail,
        )

    def carried_out(self, deed: Deed, at: datetime) -> Iterator[Effect | Holding | Taking]:
        """What becomes true when a do takes effect, now or later; not committed yet."""
        yield self.new_effect(deed, at)
        if holding := self.registers.taken_by(deed):
            yield holding
        yield from self.counters.settled(deed.n)

    def _learn(self, facts: list[AnyFact]) -> None:
        for fact in facts:
            match fact:
                case Attempt():
                    if fact.n not in self.attempts and fact.instance is not None:
                        self._by_instance[fact.instance][0].append(fact.n)
                    self.attempts[fact.n] = fact
                case Effect():
                    self._by_instance[fact.instance][1].append(fact.n)
                    self.effects[fact.n] = fact
                case Deed():
                    # An older deed of a forgotten key may still change, but not come back.
                    if fact.n not in self.deeds:
                        self._by_key[fact.operation, fact.key] = fact.n
                        self._by_reference[fact.operation, fact.reference] = fact.n
                        numbers, times = self._by_operation[fact.operation]
                        numbers.append(fact.n)
                        times.append(max(fact.at, times[-1]) if times else fact.at)
                    self.deeds[fact.n] = fact
                case Holding():
                    self.registers.learn(fact)
                case Taking() | Limit():
                    self.counters.learn(fact)
                case Plan(over=False):
                    self.plans[fact.deed, fact.type] = fact
                case Plan():
                    del self.plans[fact.deed, fact.type]
                case Callback():
                    self.callbacks[fact.n] = fact
