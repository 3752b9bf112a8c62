"""Look-ups and listings: what was done, for a client that asks again."""

import asyncio
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel

from downstream.config import Providers
from downstream.problems import Problem
from downstream.provider import answer_of
from downstream.records import Instant, Result, StoredRequest
from downstream.requests import Inquiry, find_operation
from downstream.responses import LostResponse, client_disconnected, scripted
from downstream.script import Script
from downstream.store import Store

# A cursor is the number of the last request that was shown.
Cursor = Annotated[str, Query(pattern=r"^[0-9]{1,18}$")]


class Item(BaseModel):
    """A do or an undo in a listing. `undone_by` is the key of the undo that took it back."""

    reference: str
    key: str
    instance: str
    provider_id: str | None
    result: Result
    at: Instant
    undoes: str | None
    undone_by: str | None
    detail: dict[str, Any]


class Page(BaseModel):
    """Part of a listing; `next` is where it goes on, if it does."""

    items: list[Item]
    next: str | None


class Inquiries:
    """Answers what needs no key, as badly as the script wants. Nothing of it is in the ledger."""

    def __init__(self, providers: Providers, store: Store, script: Script) -> None:
        self._providers = providers
        self._store = store
        self._script = script

    async def look_up(self, operation: str, reference: str, request: Request) -> Response:
        """The answer to a request as it is now, by the client's reference; never forgotten.

        Raises:
            Problem: 404, the operation or the reference is unknown.
        """
        find_operation(self._providers, operation)
        stored = self._store.by_reference(operation, reference)
        inquiry = Inquiry(operation)
        if stored:
            inquiry = Inquiry(operation, stored.instance, stored.key)
        if fault := await self._fault(inquiry, request):
            return fault
        # Again, because a delay may have passed.
        stored = self._store.by_reference(operation, reference)
        if stored is None:
            raise Problem(404, "unknown-reference", f"{operation} never saw this reference")
        return await self._respond(answer_of(stored))

    async def listing(
        self,
        operation: str,
        request: Request,
        *,
        after: int,
        limit: int,
        since: AwareDatetime | None,
    ) -> Response:
        """What was asked of the operation, oldest first; refused, pending and undone alike.

        Raises:
            Problem: 404, the operation is unknown.
        """
        find_operation(self._providers, operation)
        if fault := await self._fault(Inquiry(operation), request):
            return fault
        # One more than is shown, to know whether there is one.
        found = list(islice(self._store.by_operation(operation, after, since), limit + 1))
        shown = found[:limit]
        more = len(found) > limit
        items = [_item(stored) for stored in shown]
        return await self._respond(Page(items=items, next=str(shown[-1].n) if more else None))

    async def _fault(self, inquiry: Inquiry, request: Request) -> Response | None:
        rule = self._script.take(inquiry)
        if rule is None:
            return None
        then = rule.spec.then
        if then.delay:
            await asyncio.sleep(then.delay)
        if then.status is not None:
            return scripted(then.status, then)
        if then.hang:
            await client_disconnected(request)
            return LostResponse()
        return None

    async def _respond(self, what: BaseModel) -> Response:
        # No answer may show what is not on disk yet.
        await self._store.settled()
        return Response(what.model_dump_json(), media_type="application/json")


def _item(stored: StoredRequest) -> Item:
    answer = answer_of(stored)
    return Item(
        reference=stored.reference,
        key=stored.key,
        instance=stored.instance,
        provider_id=stored.provider_id,
        result=answer.result,
        at=stored.at,
        undoes=stored.undoes,
        # A late capture stands, although its key is closed.
        undone_by=stored.closed_by if stored.state == "undone" else None,
        detail=answer.detail,
    )


def routes(inquiries: Inquiries) -> APIRouter:
    """The providers' interface, as far as it only reads."""
    router = APIRouter(tags=["operations"])

    @router.get("/{service}/{operation}")
    async def tell(
        service: str,
        operation: str,
        request: Request,
        reference: Annotated[str | None, Query(min_length=1)] = None,
        after: Cursor = "0",
        limit: Annotated[int, Query(ge=1, le=200)] = 100,
        since: AwareDatetime | None = None,
    ) -> Response:
        """What is known of a client's reference; without one, everything, page by page."""
        name = f"{service}.{operation}"
        if reference is not None:
            return await inquiries.look_up(name, reference, request)
        return await inquiries.listing(name, request, after=int(after), limit=limit, since=since)

    return router
