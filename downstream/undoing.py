"""What becomes true when an undo takes effect, at once or once it is settled."""

from datetime import datetime
from typing import Any

from downstream.facts import AnyFact, Deed
from downstream.store import Store

TOO_MUCH = "more_than_is_left"


def give_back(
    store: Store, undo: Deed, target: Deed, at: datetime
) -> tuple[Deed, tuple[AnyFact, ...]]:
    """The undo as it ends, and the other facts; not committed yet.

    It ends `closed`, without an effect, where nothing stands any more, or something of another.
    """
    if target.state != "applied":
        return _ended(undo, "closed"), ()
    rest = store.counters.rest(target.n)
    amount = undo.part.amount if undo.part else None
    if amount is not None and rest is not None and amount > rest:
        return _ended(undo, "closed", TOO_MUCH), ()
    partly = amount is not None and amount != rest
    state = "applied" if partly else "undone"
    facts: list[AnyFact] = [target.model_copy(update={"state": state, "closed_by": undo.key})]
    restored: dict[str, Any] = {}
    if target.sets and not partly:
        registers = store.registers
        holding = registers.given_back_by(target)
        if holding is None:
            # What was set since belongs to somebody else.
            return _ended(undo, "closed", "superseded"), tuple(facts)
        restored = {"restored": registers.value_before(holding)}
        facts.append(holding)
    facts.extend(store.counters.returned(target.n, amount))
    given = {undo.part.field: amount or rest} if undo.part and rest is not None else {}
    changes = {"detail": undo.detail | restored, "provider_id": undo.issued_id}
    undo = _ended(undo, "applied").model_copy(update=changes)
    told = undo.model_copy(update={"detail": target.detail | undo.detail | given})
    facts.append(store.new_effect(told, at, undoes=target.key))
    return undo, tuple(facts)


def _ended(undo: Deed, state: str, reason: str | None = None) -> Deed:
    return undo.model_copy(update={"state": state, "reason": reason})
