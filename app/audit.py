"""Money without an order, and orders without an engine: made good from here, asking the providers.

Independent of the workflow engine. The undos carry the very keys of the saga, so that they happen
once even if an engine comes back and undoes the same.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from activities import ACTIVITIES
from activities.effect import Env, Fault
from activities.payment import charges
from app.store import interventions, records
from workflows import latest
from workflows.messages import Answer, Call, Incident

log = logging.getLogger(__name__)

HORIZON = timedelta(days=30)  # charges older than this were audited often enough


async def undo_without_engine(env: Env, record: Any) -> str:
    """Undoes the steps of an instance in reverse; says in a line what came of it.

    A parcel that has left (`too_late`) ends it: then the customer has the goods and we the money.
    """
    version = latest(record["kind"])
    steps = version.steps(version.input.model_validate(record["input"]))
    id, said = record["id"], []
    for step in reversed(steps):
        if step.undo is None:
            continue
        call = Call(
            instance=id,
            key=f"{id}/{step.undo_name}",
            body=step.undo_body,
            undoes=f"{id}/{step.name}",
        )
        answer = await _try(env, step.undo, call)
        said.append(f"{step.undo_name} {answer.result}")
        if answer.result == "too_late":
            break
    return ", ".join(said) or "nothing to undo"


async def audit(env: Env, patience: float) -> list[str]:
    """Refunds charges that belong to no order, or to one that ended without them.

    Returns the ids of the instances whose money was given back.
    """
    now = records.now()
    found = []
    try:
        async for charge in charges(env, now - HORIZON):
            if charge["result"] == "applied":
                found.append((charge["instance"], charge["key"]))
    except (Fault, TimeoutError) as fault:
        log.info("audit: %s", fault)
        return []
    refunded = []
    for id, charged in found:
        async with env.store.reading() as tx:
            record = await records.get(tx, id)
            settled = await interventions.settled_by_hand(tx, f"{id}/refund")
        if record is not None and (settled or not _unaccounted(record, patience)):
            continue
        why = "no order" if record is None else f"an order that ended {record['outcome']}"
        # First the row, then the money: killed in between, the next audit finds the charge again.
        incident = Incident(
            instance=id,
            key=f"{charged}/audit",
            n=1,
            kind="unaccounted",
            reason=f"money was taken as {charged} for {why}; it is given back",
            blocking=False,
        )
        async with env.store.transaction() as tx:
            await interventions.open_(tx, incident)
        # A key of its own: the order's refund may have closed the charge before the money came.
        call = Call(instance=id, key=f"{charged}/audit_refund", undoes=charged)
        answer = await _try(env, "payment.refund", call)
        if not answer.done:
            log.warning("audit: refund of %s %s: %s", charged, answer.result, answer.reason)
            continue
        refunded.append(id)
    return refunded


def _unaccounted(record: Any, patience: float) -> bool:
    """Whether an order kept money that it should not; the relay's own late refund comes first."""
    if record["kind"] != "order_fulfilment" or record["state"] != "ended":
        return False
    if record["outcome"] in ("FULFILLED", "TERMINATED", "SETTLED"):
        return False
    idle: bool = record["ended_at"] + timedelta(seconds=2 * patience) < records.now()
    return idle


async def _try(env: Env, operation: str, call: Call) -> Answer:
    try:
        answer = await ACTIVITIES[operation](env, call.model_dump(mode="json"))
    except (Fault, TimeoutError) as fault:
        return Answer(result="exhausted", reason=str(fault))
    assert isinstance(answer, Answer)
    return answer
