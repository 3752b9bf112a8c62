"""Approvals: asking people, with a link that lets them decide once, and the approved action."""

from __future__ import annotations

from typing import Any

from activities.effect import Body, Env, effect, perform
from activities.notifier import Letter
from store import records
from workflows.messages import Answer, Call


class Action(Body):
    """What was approved."""

    action: str
    amount: int | None


execute = effect("approval.execute", Action)


async def ask(env: Env, message: dict[str, Any]) -> Answer:
    """Asks somebody to decide. The link is the same in every attempt: it belongs to the key."""
    call = Call.model_validate(message)
    async with env.store.reading() as tx:
        record = await records.get(tx, call.instance)
    link = env.link_for(record, str(call.body["to"])) if record else None
    letter = Letter.model_validate({**call.body, "link": link})
    return await perform(env, "notifier.send", call, letter, step=True)
