"""Effects that settle later: what became of one, asked by our reference. A read needs no key."""

from __future__ import annotations

from typing import Any

from activities.effect import Env, Fault, look_up, note_pending
from store import attempts, interventions, records
from workflows.messages import Answer, Call, Inquiry

REJECTED = Answer(result="rejected", reason="the provider does not know it")


async def ask(env: Env, message: dict[str, Any]) -> Answer:
    """What became of a pending effect; noted once when it has settled, and a sign of life else.

    A provider that cannot be asked says nothing: then it is as pending as before.
    """
    call = Call.model_validate(message)
    # Whoever scheduled it before there were inquiries asked of trainings.
    inquiry = Inquiry.model_validate({"operation": "ml.train", **call.body})
    async with env.store.reading() as tx:
        past = await attempts.past(tx, call.key, call.next_key)
        settled = await interventions.settled_by_hand(tx, call.key)
    if settled:
        return Answer(result="settled")
    try:
        answer = await look_up(env, inquiry.operation, call.key) or REJECTED
    except (Fault, TimeoutError) as fault:
        answer = Answer(result="pending", reason=str(fault)[:500])
    since = past.first_at or records.now()
    answer = answer.model_copy(update={"pending_for": (records.now() - since).total_seconds()})
    async with env.store.transaction() as tx:
        if answer.result == "pending":
            await note_pending(tx, call, inquiry.look_again)
        elif answer.result in attempts.FINAL:
            await records.expect(tx, call.instance, records.now())
            await attempts.settle(
                tx,
                instance=call.instance,
                key=call.key,
                operation=inquiry.operation,
                result=answer.result,
                error=answer.reason,
                process=env.life,
            )
    return answer
