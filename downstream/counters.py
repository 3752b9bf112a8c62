"""What is counted: stock, capacity, money. What was taken is given back once, and no more of it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from downstream.config import Counter, Take
from downstream.paths import find
from downstream.records import Limit, Taking

# Of which counter, and of what in it: ("stock", "SKU-1").
Place = tuple[str, str]


@dataclass
class Sum:
    """Of one place: `held` by what is pending; of what was `taken`, so much was `returned`."""

    held: int = 0
    taken: int = 0
    returned: int = 0

    @property
    def out(self) -> int:
        """What is not available to others now."""
        return self.held + self.taken - self.returned


class Counters:
    """Every sum, and what each request has taken."""

    def __init__(self) -> None:
        self._takings: defaultdict[int, dict[Place, Taking]] = defaultdict(dict)
        self._sums: defaultdict[Place, Sum] = defaultdict(Sum)
        self._limits: dict[Place, int | None] = {}

    def apply(self, record: Taking | Limit) -> None:
        """Applies a record of the journal."""
        place = (record.counter, record.name)
        if isinstance(record, Limit):
            self._limits[place] = record.limit
            return
        before = self._takings[record.request].get(place)
        if before is not None:
            self._add(before, -1)
        self._takings[record.request][place] = record
        self._add(record, 1)

    def _add(self, taking: Taking, sign: Literal[1, -1]) -> None:
        total = self._sums[taking.counter, taking.name]
        if taking.state == "held":
            total.held += sign * taking.amount
        elif taking.state == "taken":
            total.taken += sign * taking.amount
            total.returned += sign * taking.returned

    def short_of(self, wanted: Mapping[Place, int], declared: Mapping[str, Counter]) -> str | None:
        """The reason of a refusal, when of something there is less left than is wanted."""
        for (counter, name), amount in wanted.items():
            limit = self._limit(counter, name, declared[counter])
            if limit is not None and self._sums[counter, name].out + amount > limit:
                return declared[counter].refuse
        return None

    def opened(
        self, request: int, wanted: Mapping[Place, int], state: Literal["held", "taken"]
    ) -> Iterator[Taking]:
        """What a request takes; not committed yet."""
        for (counter, name), amount in wanted.items():
            yield Taking(request=request, counter=counter, name=name, amount=amount, state=state)

    def settled(self, request: int) -> Iterator[Taking]:
        """What a request held is taken; so is what it had released, when it comes late."""
        for taking in self._of(request):
            yield taking.model_copy(update={"state": "taken"})

    def release(self, request: int) -> Iterator[Taking]:
        """What a request held, and never took, is free again."""
        for taking in self._of(request):
            if taking.state == "held":
                yield taking.model_copy(update={"state": "free"})

    def rest(self, request: int) -> int | None:
        """How much of each thing that a request took is still out; `None` when it took none."""
        return min((each.amount - each.returned for each in self._of(request)), default=None)

    def returned(self, request: int, amount: int | None) -> Iterator[Taking]:
        """So much of each is given back; all that is out, when no amount is given."""
        for taking in self._of(request):
            back = taking.amount if amount is None else taking.returned + amount
            yield taking.model_copy(update={"returned": back})

    def view(self, counter: str, declared: Counter) -> dict[str, dict[str, int | None]]:
        """The sums of a counter by name, with what there is in all where it is limited."""
        names = {name for owner, name in (*self._sums, *self._limits) if owner == counter}
        return {
            name: {
                **asdict(self._sums.get((counter, name), Sum())),
                "limit": self._limit(counter, name, declared),
            }
            for name in sorted(names | declared.limits.keys())
        }

    def _limit(self, counter: str, name: str, declared: Counter) -> int | None:
        return self._limits.get((counter, name), declared.limits.get(name))

    def _of(self, request: int) -> list[Taking]:
        return list(self._takings.get(request, {}).values())


def wanted(takes: tuple[Take, ...], body: dict[str, object]) -> dict[Place, int]:
    """How much a request takes of each thing; what it names twice is added up."""
    sums: defaultdict[Place, int] = defaultdict(int)
    for take in takes:
        names = list(find(body, take.name))
        amounts = find(body, take.amount) if take.amount else [1] * len(names)
        for name, amount in zip(names, amounts, strict=True):
            sums[take.counter, name] += amount
    return dict(sums)
