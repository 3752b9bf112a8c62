"""What becomes true when an undo takes effect, at once or once it is settled."""

from datetime import datetime
from typing import Any

from downstream.records import AnyRecord, StoredRequest
from downstream.store import Store

TOO_MUCH = "more_than_is_left"


def give_back(
    store: Store, undo: StoredRequest, target: StoredRequest, at: datetime
) -> tuple[StoredRequest, tuple[AnyRecord, ...]]:
    """The undo as it ends, and the other records; not committed yet.

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
    records: list[AnyRecord] = [target.model_copy(update={"state": state, "closed_by": undo.key})]
    restored: dict[str, Any] = {}
    if target.sets and not partly:
        registers = store.registers
        holding = registers.given_back_by(target)
        if holding is None:
            # Another request has set the value since, and relies on it.
            return _ended(undo, "closed", "superseded"), tuple(records)
        restored = {"restored": registers.value_before(holding)}
        records.append(holding)
    records.extend(store.counters.returned(target.n, amount))
    given = {undo.part.field: amount or rest} if undo.part and rest is not None else {}
    changes = {"detail": undo.detail | restored, "provider_id": undo.issued_id}
    undo = _ended(undo, "applied").model_copy(update=changes)
    effect = undo.model_copy(update={"detail": target.detail | undo.detail | given})
    records.append(store.new_effect(effect, at, undoes=target.key))
    return undo, tuple(records)


def _ended(undo: StoredRequest, state: str, reason: str | None = None) -> StoredRequest:
    return undo.model_copy(update={"state": state, "reason": reason})
