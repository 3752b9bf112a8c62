"""Decisions on approvals, by those who may: with a credential, or with a link."""

from __future__ import annotations

import html
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from activities.decisions import REASONS, Decision, Verdict, decide
from app.api.auth import BEARER, Decider, Principal, authenticate
from app.api.common import PathId, Services, ServicesOf
from app.api.views import moment
from app.api.workflows import Limit, unknown
from app.errors import Problem
from app.links import open_link
from store import audit_trail, records
from workflows.inputs import Exact, Id, Note

router = APIRouter(tags=["approvals"])

RETRY_AFTER = "3600"  # seconds
Token = Annotated[str, Query(max_length=2000)]

STATUS: dict[Verdict, int] = {"unknown": 404, "role": 403, "own": 403, "director": 403}


class DecisionRequest(Exact):
    """A decision; whose it is, the credential says."""

    event_id: Id
    approved: bool
    comment: Note | None = None


async def _caller(services: ServicesOf, id: PathId, request: Request, _: Any = BEARER) -> Principal:
    """Whoever decides; an attempt without a good token is in the trail too."""
    try:
        return authenticate(services, request)
    except Problem as problem:
        await _refused(services, id, "unauthenticated", "api", problem)
        raise


@router.post("/approvals/{id}/decision")
async def post_decision(
    services: ServicesOf,
    principal: Annotated[Principal, Depends(_caller)],
    id: PathId,
    decision: DecisionRequest,
) -> dict[str, Any]:
    """Decides, and says the truth about it: 200 it counts, 403 not yours, 409 too late."""
    made = Decision(
        instance=id,
        event_id=decision.event_id,
        approved=decision.approved,
        approver=principal.subject,
        roles=frozenset(principal.roles),
        comment=decision.comment or "",
    )
    return await _decide(services, made)


async def _decide(services: Services, decision: Decision) -> dict[str, Any]:
    async with services.store.transaction() as tx:
        verdict = await decide(tx, decision)
    services.relay.notify()
    if verdict == "unknown":
        raise unknown(decision.instance)
    if verdict not in ("accepted", "repeated"):
        raise Problem(STATUS.get(verdict, 409), f"decision-{verdict}", REASONS[verdict])
    return {
        "id": decision.instance,
        "event_id": decision.event_id,
        "approved": decision.approved,
        "approver": decision.approver,
    }


async def _refused(services: Services, id: str, who: str, via: str, problem: Problem) -> None:
    verdict = f"refused: {problem.name} {problem.detail or ''}"[:100]
    row: dict[str, Any] = {
        "who": who,
        "via": via,
        "what": "decide",
        "verdict": verdict,
        "event_id": None,
    }
    async with services.store.reading() as tx:
        if await records.get(tx, id) is None:
            return
    async with services.store.transaction() as tx:
        kept = await audit_trail.refuse(tx, instance=id, **row)
    if not kept:
        headers = {"Retry-After": RETRY_AFTER}
        raise Problem(429, "too-many-attempts", "Too many attempts", headers=headers)


@router.get("/approvals/{id}/audit")
async def get_audit(
    services: ServicesOf,
    _: Decider,
    id: PathId,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Every decision on an approval, and attempts at one, oldest first; `next` is the cursor."""
    async with services.store.reading() as tx:
        if await records.get(tx, id) is None:
            raise unknown(id)
        rows = await audit_trail.page(tx, id, after, limit + 1)
    fields = ("who", "via", "what", "verdict", "event_id", "note")
    items = [{"at": moment(row["at"]), **{f: row[f] for f in fields}} for row in rows[:limit]]
    return {"items": items, "next": rows[limit - 1]["id"] if len(rows) > limit else None}


@router.get("/approvals/{id}/decide", response_class=HTMLResponse)
async def show_link(services: ServicesOf, id: PathId, token: Token) -> HTMLResponse:
    """Shows what a link would decide on; following a link decides nothing."""
    link = open_link(services.settings, id, token)
    async with services.store.reading() as tx:
        record = await records.get(tx, id)
    if record is None:
        raise unknown(id)
    request = record["input"]
    amount = f"<p>Amount: {request['amount']} minor units</p>" if request.get("amount") else ""
    return _page(
        f"<h1>{html.escape(request['title'])}</h1>"
        f"<p>Asked for by {html.escape(request['requester'])}; you are "
        f"{html.escape(link.person)}.</p>{amount}"
        f'<form method="post" action="/approvals/{id}/decide">'
        f'<input type="hidden" name="token" value="{html.escape(token)}">'
        '<button name="approved" value="yes">Approve</button> '
        '<button name="approved" value="no">Reject</button></form>'
    )


FORM = {
    "type": "object",
    "required": ["token", "approved"],
    "properties": {
        "token": {"type": "string", "maxLength": 2000},
        "approved": {"type": "string", "enum": ["yes", "no"]},
    },
}
LINK = {"content": {"application/x-www-form-urlencoded": {"schema": FORM}}, "required": True}


@router.post(
    "/approvals/{id}/decide", response_class=HTMLResponse, openapi_extra={"requestBody": LINK}
)
async def follow_link(services: ServicesOf, id: PathId, request: Request) -> HTMLResponse:
    """Decides with a link; a second time is refused."""
    body = (await request.body()).decode("utf-8", "replace")
    form = {name: values[-1] for name, values in parse_qs(body).items()}
    try:
        link = open_link(services.settings, id, form.get("token", ""))
    except Problem as problem:
        await _refused(services, id, "unauthenticated", "link", problem)
        raise
    if form.get("approved") not in ("yes", "no"):
        raise Problem(422, "invalid", "Not valid", "approved is yes or no")
    made = Decision(
        instance=id,
        event_id=link.event_id,
        approved=form["approved"] == "yes",
        approver=link.person,
        roles=link.roles,
        via="link",
    )
    await _decide(services, made)
    return _page(f"<h1>Thank you</h1><p>You {'approved' if made.approved else 'rejected'} it.</p>")


def _page(body: str) -> HTMLResponse:
    style = "body{font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}"
    page = f"<!doctype html><meta charset=utf-8><title>Approval</title><style>{style}</style>{body}"
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
        "form-action 'self'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(page, headers=headers)
