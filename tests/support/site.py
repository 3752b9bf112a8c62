"""The HTTP side of the application on a real store, without sidecar, worker or providers."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from app.api.common import Services
from app.engine import Engine
from app.main import create_app
from app.relay import Relay
from app.security import sign
from app.settings import Settings, SidecarSettings
from app.sidecar import Watcher
from app.worker import make_env
from store import Store
from tests.support.databases import prepare

KEY = "k" * 32
SECRETS = {source: f"{source}-secret-of-this-test" for source in ("carrier", "payment", "signing")}


@dataclass
class Site:
    """What a client sees, and the store behind it."""

    http: httpx.AsyncClient
    store: Store
    services: Services

    async def callback(self, body: Any, source: str = "carrier", **changes: str) -> httpx.Response:
        """A signed callback; `secret`, `id`, `at` and `signature` may be changed."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        event_id, at = changes.get("id", "evt-1"), changes.get("at", str(int(time.time())))
        made = sign(changes.get("secret") or SECRETS[source], event_id, int(at), raw)
        headers = {
            b"webhook-id": event_id.encode(),
            b"webhook-timestamp": at.encode(),
            b"webhook-signature": changes.get("signature", made).encode("latin-1"),
        }
        return await self.http.post(f"/webhooks/{source}", content=raw, headers=headers)


def bearer(subject: str, *roles: str, **changes: Any) -> dict[str, str]:
    """The header of a token that is good unless its claims, `key` or `kid` are changed."""
    key, kid = changes.pop("key", KEY), changes.pop("kid", "k-1")
    claims = {"sub": subject, "roles": roles, "aud": "steadfast", "exp": int(time.time()) + 3600}
    token = jwt.encode({**claims, **changes}, key, "HS256", headers={"kid": kid})
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def site(
    database_url: str, client: Any = None, *, engine: Any = None, **given: Any
) -> AsyncIterator[Site]:
    """A site; `client` stands for the engine's, or `engine` for it, and `given` are settings."""
    defaults = {
        "database_url": database_url,
        "downstream_url": "http://127.0.0.1:9",
        "webhook_secrets": {source: [secret] for source, secret in SECRETS.items()},
        "jwt_keys": {"k-1": {"secret": KEY}},
        "decision_key": "d" * 32,
        "public_url": "http://site.test",
    }
    settings = Settings.model_validate({**defaults, **given})
    env = make_env(settings)
    await prepare(env.store)
    engine = engine or Engine(client or object())
    watcher = Watcher(SidecarSettings(), settings.wedge_after)
    app = create_app(settings)
    app.state.services = Services(settings, env.store, Relay(env, engine, 60), engine, watcher)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as http:
            yield Site(http, env.store, app.state.services)
    finally:
        await watcher.close()
        await env.providers.aclose()
        await env.store.close()
