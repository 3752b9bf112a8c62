"""What the endpoints share: the services that they use, and the id in their paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from app.engine import Engine
from app.relay import Relay
from app.settings import Settings
from app.sidecar import Watcher
from store import Store
from workflows.inputs import ID_PATTERN


@dataclass(frozen=True)
class Services:
    """The parts of a running application that endpoints use."""

    settings: Settings
    store: Store
    relay: Relay
    engine: Engine
    watcher: Watcher


def services(request: Request) -> Services:
    """The parts of the application that serves this request."""
    found: Services = request.app.state.services
    return found


ServicesOf = Annotated[Services, Depends(services)]

PathId = Annotated[str, Path(pattern=ID_PATTERN)]
