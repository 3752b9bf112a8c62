"""The real witness, a new one for each simulation.

Building its routes takes longer than most simulations. They are built once, on services that every
simulation begins anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from downstream.app import Services, assemble
from downstream.config import Providers, load
from downstream.delivery import Signers, WebhookSender
from downstream.gate import Gate
from downstream.script import Script
from downstream.store import Store
from simulation.outsiders import WEBHOOK_SECRET, secrets

PROVIDERS = Path(__file__).parent.parent / "activities/providers.toml"


@cache
def _providers() -> Providers:
    return load(PROVIDERS)


@cache
def _services() -> Services:
    """Not yet what they are: every simulation begins them anew."""
    made: list[Any] = [kind.__new__(kind) for kind in (Store, WebhookSender, Script, Gate)]
    return Services(*made)


@cache
def _app() -> FastAPI:
    return assemble(_providers(), _services())


def witness(folder: Path, transport: httpx.AsyncBaseTransport) -> FastAPI:
    """The application on an empty journal in a folder; the one before it is no more."""
    services = _services()
    for service in (services.store, services.sender, services.script, services.gate):
        vars(service).clear()
    signers = Signers(WEBHOOK_SECRET, secrets())
    Store.__init__(services.store, folder / "journal.jsonl")
    WebhookSender.__init__(services.sender, services.store, signers, "http://app", transport)
    Script.__init__(services.script)
    Gate.__init__(services.gate)
    return _app()
