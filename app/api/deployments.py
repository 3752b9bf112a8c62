"""Deployments: POST /deployments starts a model_deployment."""

from __future__ import annotations

from typing import Annotated, ClassVar

from fastapi import APIRouter, Response
from pydantic import Field

from app.api.auth import Requester
from app.api.common import PartsOf, Phrase, Word
from app.api.starts import IdempotencyKey, Retry, StartRequest, accept

router = APIRouter(tags=["starts"])

Seconds = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False, strict=False)]


class DeploymentRequest(StartRequest):
    """A version of a model to be made and put live. Durations are seconds."""

    FORMER: ClassVar = (
        {"training_timeout": None, "retry": {"attempts": 5, "first": 0.5, "cap": 30.0}},
    )

    model: Word
    version: Word
    dataset: Phrase
    poll_interval: Seconds = 60
    heartbeat_timeout: Seconds = 900
    training_timeout: Annotated[
        float, Field(gt=0, le=365 * 86_400, allow_inf_nan=False, strict=False)
    ] = 30 * 86_400
    # Five tries that span half a minute and more: a blip is over by the last.
    retry: Retry = Retry(attempts=5, first=3)


@router.post("/deployments", status_code=202)
async def start_deployment(
    parts: PartsOf,
    _: Requester,
    deployment: DeploymentRequest,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Starts a deployment, once: the same id and body always answer with the same one."""
    return await accept(parts, "model_deployment", deployment, idempotency_key)
