"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import false, select

from app.api.common import Services, ServicesOf
from app.errors import Problem, document
from store import unavailable
from store.schema import metadata

router = APIRouter(tags=["health"])

STORE_DEADLINE = 2.0  # seconds
# Reads no row, and fails where a table or a column is not there.
WHOLE = select(*(select(table).where(false()).exists() for table in metadata.sorted_tables))


@router.get("/livez")
async def live(request: Request) -> dict[str, str]:
    """The process answers, and everything that it runs in the background still runs."""
    ended: Callable[[], list[str]] = getattr(request.app.state, "ended", list)
    if over := ended():
        raise Problem(503, "not-alive", "Restart it", f"ended by itself: {', '.join(over)}")
    return {"status": "alive"}


@router.get("/readyz")
async def ready(services: ServicesOf) -> Response:
    """Ready once the store has every table and the sidecar says that this worker is connected."""
    missing = [] if await _answers(services) else ["store"]
    if not services.watcher.reachable:
        missing.append("sidecar")
    elif not services.watcher.connected:
        missing.append("worker")
    if missing:
        why = f"missing: {', '.join(missing)}"
        return document(503, "not-ready", "Not ready", why, missing=missing)
    return JSONResponse({"status": "ready", "sidecar_shutdowns": services.watcher.shutdowns})


async def _answers(services: Services) -> bool:
    try:
        async with asyncio.timeout(STORE_DEADLINE), services.store.reading() as tx:
            await tx.execute(WHOLE)
    except Exception as error:
        if not unavailable(error):
            raise
        return False
    return True


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> Response:
    """Prometheus metrics of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
