"""Accept once: a start is kept before anything is scheduled, and answered the same for ever."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import Header, Response
from fastapi.responses import JSONResponse

from app.api.common import Parts, Phrase
from app.api.views import view
from app.errors import Problem
from app.store import records

IdempotencyKey = Annotated[Phrase | None, Header()]


async def accept(
    parts: Parts,
    *,
    kind: str,
    id: str | None,
    idempotency_key: str | None,
    request: dict[str, Any],
    input: dict[str, Any],
) -> Response:
    """Keeps a start and pokes the relay; 202 with the resource, whatever state it is in.

    Raises:
        Conflict: the id or the key belongs to another request.
    """
    content = {name: value for name, value in request.items() if name != "id"}
    async with parts.store.transaction() as tx:
        if id is None and idempotency_key is not None:
            known = await records.by_idempotency_key(tx, kind, idempotency_key)
            id = known["id"] if known else None
        id = id or str(uuid.uuid4())
        await records.accept(
            tx,
            id=id,
            kind=kind,
            idempotency_key=idempotency_key,
            request_hash=records.content_hash(content),
            input={**input, "id": id},
        )
    parts.relay.poke()
    async with parts.store.reading() as tx:
        record = await records.get(tx, id)
        if record is None:
            raise Problem(500, "lost-record", "An accepted record is gone")
        content = view(record)
    return JSONResponse(content, 202, {"Location": f"/workflows/{id}"})
