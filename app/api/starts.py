"""Accept once: a start is kept before anything is scheduled, and answered the same for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import Header, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from app.api.common import Id, Parts, Phrase, Request_, Whole
from app.api.views import view
from store import audit_trail, records

IdempotencyKey = Annotated[Phrase | None, Header()]


Timeout = Annotated[float, Field(gt=0, le=365 * 86_400, allow_inf_nan=False, strict=False)]


class Retry(Request_):
    """How patiently faults of providers are retried. Durations are seconds."""

    attempts: Whole = Field(default=10, ge=1, le=20)
    first: Annotated[float, Field(ge=0.05, le=60, strict=False)] = 0.5
    cap: Annotated[float, Field(ge=0.05, le=3600, strict=False)] = 30
    undo_for: Annotated[float, Field(ge=0, le=7 * 86_400, strict=False)] | None = Field(
        default=None, description="how long an undo is retried before a person is asked; 36 hours"
    )


class StartRequest(Request_):
    """What every start may carry.

    `FORMER` are the defaults of earlier releases that are others now, by field (`None`: there was
    no such field), one mapping a release: what was accepted by one of them may be sent again.
    """

    FORMER: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    id: Id | None = None
    retry: Retry = Retry()


async def accept(
    parts: Parts,
    kind: str,
    start: StartRequest,
    idempotency_key: str | None,
    fixed: dict[str, Any] | None = None,
    trail: dict[str, Any] | None = None,
) -> Response:
    """Keeps a start and pokes the relay; 202 with the resource, whatever state it is in.

    `fixed` is what the server adds at acceptance; who asks belongs to the identity of the start.
    `trail` is what is noted of it in the audit trail, once.

    Raises:
        Conflict: the id or the key belongs to another request.
    """
    content = start.model_dump(mode="json", exclude_none=True, exclude={"id"})
    requester = (fixed or {}).get("requester")
    identity, *former = (
        records.content_hash([body, requester] if requester else body)
        for body in (content, *_as_before(start, content))
    )
    async with parts.store.transaction() as tx:
        record = await records.accept(
            tx,
            id=start.id,
            kind=kind,
            idempotency_key=idempotency_key,
            request_hash=identity,
            former_hashes=former,
            input={**content, **(fixed or {})},
        )
        if trail:
            await audit_trail.once(tx, instance=record["id"], **trail)
    parts.relay.poke()
    return JSONResponse(view(record), 202, {"Location": f"/workflows/{record['id']}"})


def _as_before(start: StartRequest, content: dict[str, Any]) -> list[dict[str, Any]]:
    """What earlier releases made of the same body: what nobody named had another default."""
    bodies = []
    for defaults in start.FORMER:
        unnamed = {name: it for name, it in defaults.items() if name not in start.model_fields_set}
        body = {**content, **unnamed}
        bodies.append({name: value for name, value in body.items() if value is not None})
    return bodies
