"""The real witness, a new one for each simulation.

Building its routes takes longer than most simulations. They are built once, on parts that every
simulation begins anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from downstream.app import Parts, assemble
from downstream.config import Providers, load
from downstream.delivery import Courier, Signers
from downstream.gate import Gate
from downstream.script import Script
from downstream.store import Store
from simulation.outsiders import WEBHOOK_SECRET, secrets

PROVIDERS = Path(__file__).parent.parent / "downstream/providers.toml"


@cache
def _providers() -> Providers:
    return load(PROVIDERS)


@cache
def _parts() -> Parts:
    """Not yet what they are: every simulation begins them anew."""
    made: list[Any] = [kind.__new__(kind) for kind in (Store, Courier, Script, Gate)]
    return Parts(*made)


@cache
def _app() -> FastAPI:
    return assemble(_providers(), _parts())


def witness(folder: Path, transport: httpx.AsyncBaseTransport) -> FastAPI:
    """The application on an empty journal in a folder; the one before it is no more."""
    parts = _parts()
    for part in (parts.store, parts.courier, parts.script, parts.gate):
        vars(part).clear()
    signers = Signers(WEBHOOK_SECRET, secrets())
    Store.__init__(parts.store, folder / "journal.jsonl")
    Courier.__init__(parts.courier, parts.store, signers, "http://app", transport)
    Script.__init__(parts.script)
    Gate.__init__(parts.gate)
    return _app()
