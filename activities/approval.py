"""Approvals: people are asked, with a link that lets them decide once."""

from __future__ import annotations

from typing import Any

from activities.effect import Env, perform
from store import records
from workflows.messages import Answer, Call


async def ask(env: Env, message: dict[str, Any]) -> Answer:
    """Asks somebody to decide. The link is the same in every attempt: it belongs to the key."""
    call = Call.model_validate(message)
    async with env.store.reading() as tx:
        record = await records.get(tx, call.instance)
    link = env.link_for(record, str(call.body["to"])) if record else None
    return await perform(env, "notifier.send", call, {**call.body, "link": link}, step=True)
