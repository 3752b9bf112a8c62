"""Serves the application until it is told to stop."""

from __future__ import annotations

import logging
import sys

import uvicorn

from activities import flaws
from app.main import create_app
from app.settings import from_environment
from workflows import WORKFLOWS


def serve() -> None:
    """Runs the server; SIGTERM and SIGINT stop it in order.

    Raises:
        SystemExit: 2; settings or definitions of workflows are wrong, and standard error says how.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("httpx", "alembic", "durabletask-worker", "durabletask-client"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for own_handler in ("durabletask-worker", "durabletask-client", "WorkflowRuntime"):
        logging.getLogger(own_handler).propagate = False
    _check_definitions()
    settings = from_environment()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


def _check_definitions() -> None:
    """Before anything is accepted that could not be carried out.

    Raises:
        SystemExit: 2; what is wrong with the workflows was written to standard error.
    """
    found = flaws(WORKFLOWS)
    for flaw in found:
        print(flaw, file=sys.stderr)
    if found:
        raise SystemExit(2)
