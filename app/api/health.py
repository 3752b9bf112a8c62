"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.common import PartsOf
from app.errors import Problem

router = APIRouter(tags=["health"])


@router.get("/livez")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def ready(parts: PartsOf) -> dict[str, Any]:
    """Ready once the sidecar says that this application's worker is connected."""
    watcher = parts.watcher
    if not watcher.connected:
        why = "no worker is connected to the sidecar" if watcher.reachable else "no sidecar"
        raise Problem(503, "not-ready", "Not ready", why)
    return {"status": "ready", "sidecar_shutdowns": watcher.shutdowns}


@router.get("/metrics")
async def metrics() -> Response:
    """Prometheus metrics of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
