"""The application, put together."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx
from fastapi import FastAPI

from downstream import control, due, handlers, health, inquiries, problems
from downstream.config import Providers
from downstream.delivery import Signers, WebhookSender
from downstream.gate import Gate
from downstream.handlers import OperationHandler
from downstream.inquiries import Inquiries
from downstream.script import Script
from downstream.store import Store


@dataclass(frozen=True)
class Services:
    """What one witness consists of; all of its state is in these."""

    store: Store
    sender: WebhookSender
    script: Script
    gate: Gate


def create_app(
    providers: Providers,
    *,
    data: Path,
    webhook_url: str,
    webhook_secret: str,
    webhook_secrets: Mapping[str, str] = MappingProxyType({}),
    transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """Builds the witness on the journal in the directory `data`, which is made if need be.

    `webhook_secrets` are those of sources that have one of their own. Callbacks leave over
    `transport`, or else over the network.

    Raises:
        JournalError: the journal is in use by another process, or damaged.
        ValueError: a webhook secret is not what its prefix says.
    """
    signers = Signers(webhook_secret, webhook_secrets)
    store = Store(data / "journal.jsonl")
    sender = WebhookSender(store, signers, webhook_url, transport)
    return assemble(providers, Services(store, sender, Script(), Gate()))


def assemble(providers: Providers, services: Services) -> FastAPI:
    """The application on these services."""
    store, sender, script, gate = services.store, services.sender, services.script, services.gate

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sender.start()
        yield
        await sender.close()
        await store.close()

    app = FastAPI(title="Witness", lifespan=lifespan)
    problems.install(app)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """200 as long as the journal can be written; 503 once it cannot."""
        await store.settled()
        return {"status": "ok"}

    app.include_router(control.script_routes(script, providers))
    app.include_router(control.gate_routes(gate, script))
    app.include_router(control.callback_routes(store, sender))
    app.include_router(due.routes(providers, store, sender))
    app.include_router(health.routes())
    app.include_router(control.ledger_routes(store))
    app.include_router(control.register_routes(store, providers))
    app.include_router(control.counter_routes(store, providers))
    # Last, because its paths match almost everything.
    app.include_router(handlers.routes(OperationHandler(providers, store, script, gate, sender)))
    app.include_router(inquiries.routes(Inquiries(providers, store, script)))
    return app
