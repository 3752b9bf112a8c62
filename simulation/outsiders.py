"""Those outside: clients who call again until they are answered, and people who settle things."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import datetime
from functools import cache
from typing import Any

import httpx
from pydantic import SecretStr

from app.settings import Settings, SigningKey
from app.tokens import AUDIENCE, mint
from simulation.clock import EPOCH
from simulation.loop import Loop
from simulation.result import Answered
from simulation.schedule import DAY, Call, People

AGAIN = 3.0  # seconds until a call that was not answered is made again
KEY = SigningKey(secret=SecretStr("simulation-simulation-simulation"))
WEBHOOK_SECRET = "simulated-secret-of-the-witness-alone"
SOURCES = ("carrier", "warehouse", "signing", "payment")


class Outsiders:
    """Everybody who calls the application or the witness from outside."""

    def __init__(
        self,
        loop: Loop,
        transports: dict[str, httpx.AsyncBaseTransport],
        people: People,
        until: float,
    ) -> None:
        self.busy = 0
        self._loop = loop
        self._clients = {
            name: httpx.AsyncClient(transport=transport, base_url=f"http://{name}", timeout=30)
            for name, transport in transports.items()
        }
        self._people = people
        self._until = until
        self._tokens: dict[tuple[str, tuple[str, ...]], str] = {}
        self._given: Counter[str] = Counter()
        self._looking = False

    def token(self, subject: str, roles: tuple[str, ...]) -> str:
        """A bearer token that is good for the whole simulation."""
        who = subject, roles
        if who not in self._tokens:
            claims = {"sub": subject, "roles": list(roles), "exp": int(EPOCH + 800 * DAY)}
            self._tokens[who] = mint({"sim": KEY}, "sim", AUDIENCE, claims)
        return self._tokens[who]

    async def make(self, call: Call, answered: Answered, start: Answered | None = None) -> None:
        """Makes a call at its time, and again until it is answered.

        A decision waits for the answer to the start of its instance.
        """
        self.busy += 1
        await self._loop.delay(call.at)
        while self._loop.time() < self._until:
            if start is None or start.final:
                answered.tries += 1
                self._loop.active()
                answered.status, answered.body = await self.once(call)
                answered.at = self._loop.time()
            if answered.final:
                break
            await self._loop.delay(AGAIN)
        self._done()

    async def once(self, call: Call) -> tuple[int, Any]:
        """One call; status 0 is no answer."""
        headers = {"authorization": f"Bearer {self.token(call.subject, call.roles)}"}
        client = self._clients[call.to]
        try:
            response = await client.request(call.method, call.path, json=call.body, headers=headers)
        except httpx.HTTPError:
            return 0, None
        try:
            return response.status_code, response.json()
        except ValueError:
            return response.status_code, response.text

    async def see(self, path: str, to: Any = "app") -> Any:
        """What an operator is shown; `None` when nothing."""
        look = Call(at=0, method="GET", path=path, to=to, subject="op-1", roles=("operator",))
        for _ in range(10):
            status, body = await self.once(look)
            if 0 < status < 500:
                return body if status == 200 else None
            await self._loop.delay(AGAIN)
        return None

    def opened(self) -> None:
        """An intervention was written: people look after it in their time."""
        if self._people.answer is not None and not self._looking:
            self._looking = True
            self._loop.at(self._loop.time() + self._people.after, self._look)

    def _look(self) -> None:
        self._looking = False
        self.busy += 1
        task = self._loop.create_task(self._settle(), context=self._loop.neutral.copy())
        task.add_done_callback(self._done)

    def _done(self, _: asyncio.Task[None] | None = None) -> None:
        self.busy -= 1
        self._loop.active()

    async def _settle(self) -> None:
        page = await self.see("/interventions?limit=200")
        for one in (page or {"items": []})["items"]:
            age = EPOCH + self._loop.time() - datetime.fromisoformat(one["opened_at"]).timestamp()
            if self._given[one["instance"]] >= self._people.times:
                continue
            if age < self._people.after - 60:
                self.opened()
                continue
            self._given[one["instance"]] += 1
            body = {"action": self._people.answer, "note": "as agreed"}
            call = Call(
                at=0,
                path=f"/interventions/{one['id']}",
                body=body,
                subject="op-1",
                roles=("operator",),
            )
            status, _ = await self.once(call)
            if not 0 < status < 500:
                self.opened()


def secrets() -> dict[str, str]:
    """What each provider signs its callbacks with."""
    return {source: f"simulated-secret-of-{source:>9}".replace(" ", "-") for source in SOURCES}


def settings(changes: dict[str, Any]) -> Settings:
    """The application's settings, as they are by default where the schedule changes nothing."""
    return _settings(json.dumps(changes, sort_keys=True))


@cache
def _settings(changes: str) -> Settings:
    basic: dict[str, Any] = {
        "webhook_secrets": {source: [secret] for source, secret in secrets().items()},
        "decision_key": "simulated-decision-key-simulated",
        "jwt_keys": {"sim": KEY},
        "downstream_url": "http://witness",
        "public_url": "http://app",
    }
    return Settings(**{**basic, **json.loads(changes)})
