"""Serves the application until it is told to stop."""

from __future__ import annotations

import logging

import uvicorn

from app.main import create_app
from app.settings import from_environment


def serve() -> None:
    """Runs the server; SIGTERM and SIGINT stop it in order."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("httpx", "alembic", "durabletask-worker", "durabletask-client"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for own_handler in ("durabletask-worker", "durabletask-client", "WorkflowRuntime"):
        logging.getLogger(own_handler).propagate = False
    settings = from_environment()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
