"""When an application is ready: it says so, and its worker is connected to the sidecar."""

from __future__ import annotations

import httpx


def unready_worker(app: str, path: str | None, sidecar: str, token: str) -> str | None:
    """What is still missing; `None` when workflows can run.

    The sidecar is asked too: one that is wedged has no connected worker, whatever the application
    believes.
    """
    if path is not None and (answer := _get(app + path)) is not None:
        return f"app (GET {path}: {answer})"
    if connected_workers(sidecar, token) < 1:
        return "app (no worker is connected to the sidecar)"
    return None


def connected_workers(sidecar: str, token: str) -> int:
    """How many workers the sidecar knows; 0 as well when it does not answer."""
    try:
        headers = {"dapr-api-token": token}
        response = httpx.get(f"{sidecar}/v1.0/metadata", headers=headers, timeout=2)
        known = response.json() if response.status_code == 200 else {}
    except (httpx.TransportError, ValueError):
        return 0
    return int(known.get("workflows", {}).get("connectedWorkers", 0))


def _get(url: str) -> str | None:
    try:
        status = httpx.get(url, timeout=2).status_code
    except httpx.TransportError as error:
        return type(error).__name__
    return None if 200 <= status < 300 else str(status)
