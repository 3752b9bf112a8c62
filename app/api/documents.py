"""Documents: POST /documents starts a document_signing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field

from app.api.auth import Requester
from app.api.common import PartsOf, Phrase, Word
from app.api.starts import IdempotencyKey, StartRequest, Timeout, accept
from workflows.document_signing import DAY

router = APIRouter(tags=["starts"])


def _distinct(signers: list[str]) -> list[str]:
    if len(set(signers)) < len(signers):
        raise ValueError("a signer is named twice")
    return signers


Signers = Annotated[
    list[Word],
    Field(min_length=1, max_length=100, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


class DocumentRequest(StartRequest):
    """A document to be signed by everybody named. Durations are seconds."""

    title: Phrase
    requester: Word
    signers: Signers
    signing_timeout: Timeout = 30 * DAY
    reminder_interval: Timeout = 7 * DAY


@router.post("/documents", status_code=202)
async def start_document(
    parts: PartsOf,
    _: Requester,
    document: DocumentRequest,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Sends a document, once: the same id and body always answer with the same one."""
    return await accept(parts, "document_signing", document, idempotency_key)
