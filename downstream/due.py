"""Time that is set and not waited for: a planned event happens when a test says so."""

from fastapi import APIRouter

from downstream.config import Declared, Providers, Text, Word
from downstream.delivery import WebhookSender
from downstream.problems import Problem
from downstream.requests import find_operation
from downstream.store import Store


class Due(Declared):
    """The event of a do that is to happen now."""

    operation: Text
    key: Text
    type: Word


def routes(providers: Providers, store: Store, sender: WebhookSender) -> APIRouter:
    """`/due`: brings a planned event forward."""
    router = APIRouter(tags=["callbacks"])

    @router.post("/due", status_code=202)
    async def happen_now(due: Due) -> dict[str, bool]:
        """Lets a planned event happen, and answers then; `planned` is false when it is over.

        404 when the key is not known yet.
        """
        find_operation(providers, due.operation)
        stored = store.by_key(due.operation, due.key)
        if stored is None:
            raise Problem(404, "unknown-key", f"{due.operation} never saw this key")
        plan = store.plans.get((stored.n, due.type))
        if plan is not None:
            await sender.happen_now(plan)
        return {"planned": plan is not None}

    return router
