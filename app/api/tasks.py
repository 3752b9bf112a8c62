"""Tasks: POST /tasks starts a task_processing."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from app.api.auth import Requester
from app.api.common import PartsOf, Phrase, Whole, Word
from app.api.starts import IdempotencyKey, StartRequest, accept

router = APIRouter(tags=["starts"])


class TaskRequest(StartRequest):
    """A task for somebody; `effort` in minutes."""

    title: Phrase
    assignee: Word
    effort: Whole = Field(default=60, ge=1, le=60 * 24 * 365)


@router.post("/tasks", status_code=202)
async def start_task(
    parts: PartsOf,
    _: Requester,
    task: TaskRequest,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Starts a task, once: the same id and body always answer with the same task."""
    return await accept(parts, "task_processing", task, idempotency_key)
