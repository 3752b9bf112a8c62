"""Callbacks of providers: verified, kept, and only then raised."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints, ValidationError

from app.api.common import Services, ServicesOf
from app.errors import Problem
from app.security import verify
from app.settings import Source
from store import inbox, interventions, records
from workflows import of_record
from workflows.inputs import ID_PATTERN, Exact, Word

router = APIRouter(tags=["webhooks"])

# One alert for all of them until somebody has looked: whoever can forge one can forge many.
FORGED = "engine/forged-callback"

REFERENCE = ID_PATTERN.rstrip("$") + r"/[A-Za-z0-9._:/-]{1,100}$"


class Callback(Exact):
    """What a provider tells us; `reference` is the one that we gave it."""

    type: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,30}\.[a-z_]{1,60}$")]
    reference: Annotated[str, StringConstraints(pattern=REFERENCE)]
    occurred_at: Word
    data: dict[str, Any] = Field(default={}, max_length=50)


SIGNATURE = [
    {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
]
DESCRIBED = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Callback.model_json_schema()}},
    },
    "parameters": SIGNATURE,
}


@router.post("/webhooks/{source}", openapi_extra=DESCRIBED)
async def receive(services: ServicesOf, source: Source, request: Request) -> dict[str, Any]:
    """Keeps a callback once and answers 200 for it ever after, early, late or repeated."""
    body = await request.body()
    try:
        event_id = verify(_secrets(services, source), request.headers, body)
    except Problem:
        await _tell_of_another(services, source, request.headers, body)
        raise
    try:
        callback = Callback.model_validate_json(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Problem(422, "invalid", "Not valid", f"the callback's {where or 'body'}") from error
    if callback.type.split(".")[0] != source:
        raise Problem(422, "invalid", "Not valid", "the type begins with the source")
    instance = callback.reference.split("/", 1)[0]
    async with services.store.transaction() as tx:
        record = await records.get(tx, instance)
        if record is None:
            raise Problem(
                404,
                "unknown-workflow",
                "No such workflow",
                "send the reference that we gave",
            )
        workflow = of_record(record)
        if source not in workflow.hears:
            raise Problem(422, "not-heard", "Not heard", f"a {record['kind']} hears no {source}")
        if objection := workflow.objection(record["input"], source, callback.data):
            raise Problem(422, "not-asked", "Not asked for", objection)
        first = await inbox.keep(
            tx,
            instance=instance,
            event_id=event_id,
            name=source,
            type=callback.type,
            data={"reference": callback.reference, **callback.data},
        )
    services.relay.notify()
    return {"event_id": event_id, "instance": instance, "duplicate": not first}


def _secrets(services: Services, source: Source) -> list[str]:
    return [one.get_secret_value() for one in services.settings.webhook_secrets.get(source, ())]


async def _tell_of_another(
    services: Services, source: Source, headers: Mapping[str, str], body: bytes
) -> None:
    """Asks a person, once until they have looked, where a provider speaks for another one.

    Whoever has no secret at all is a stranger, and opens nothing.
    """
    for other in services.settings.webhook_secrets:
        with suppress(Problem):
            verify(_secrets(services, other), headers, body)
            reason = f"a callback to {source} was signed with the secret of {other}"
            async with services.store.transaction() as tx:
                await interventions.ask_once(tx, "-", FORGED, "forged", reason)
