"""Makes planned events happen when they are due, and delivers signed callbacks."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import httpx

from downstream.events import happen
from downstream.records import Callback, Plan
from downstream.store import Store

FIRST_WAIT, LONGEST_WAIT = 0.2, 2.0
TRY_AGAIN_LATER = {408, 429}

logger = logging.getLogger("downstream")


class Signers:
    """The signer of each source: its own, or the one of all that have none.

    Raises:
        ValueError: a secret begins with `whsec_` and what follows is not base64.
    """

    def __init__(self, default: str, own: Mapping[str, str]) -> None:
        self._default = Signer(default)
        self._own = {source: Signer(secret) for source, secret in own.items()}

    def of(self, source: str) -> "Signer":
        """The signer of a source's callbacks."""
        return self._own.get(source, self._default)


class Signer:
    """Signs as Standard Webhooks has it: HMAC-SHA256 over `{id}.{timestamp}.{body}`.

    Raises:
        ValueError: the secret begins with `whsec_` and what follows is not base64.
    """

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()
        if secret.startswith("whsec_"):
            try:
                self._key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            except binascii.Error as error:
                raise ValueError(
                    f"the webhook secret after whsec_ is not base64: {error}"
                ) from error

    def headers(self, event_id: str, timestamp: int, body: str) -> dict[str, str]:
        """The three headers of one sending; the timestamp is in seconds since 1970."""
        signed = f"{event_id}.{timestamp}.{body}".encode()
        digest = hmac.new(self._key, signed, hashlib.sha256).digest()
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


class WebhookSender:
    """Makes every planned event happen when it is due, and delivers every callback.

    What was planned and has not happened, or has happened and was not delivered, is resumed by
    `start`.
    """

    def __init__(
        self,
        store: Store,
        signers: Signers,
        webhook_url: str,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._store = store
        self._signers = signers
        self._url = webhook_url.rstrip("/")
        # The receiver is the application next door, never behind a proxy.
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(5, pool=None), trust_env=False, transport=transport
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Resumes what an earlier process has left."""
        for plan in sorted(self._store.plans.values(), key=lambda plan: plan.due):
            self.schedule(plan)
        for callback in self._store.callbacks.values():
            if callback.outcome is None:
                self.send(callback)

    def schedule(self, plan: Plan) -> None:
        """Makes a committed plan happen when it is due."""
        self._spawn(self._happen(plan))

    async def happen_now(self, plan: Plan) -> None:
        """Makes a committed plan happen at once, and returns when it has."""
        await self._happen(plan.model_copy(update={"due": datetime.now(UTC)}))

    def send(self, callback: Callback) -> None:
        """Delivers a committed callback, from its due date on."""
        self._spawn(self._send(callback))

    async def close(self) -> None:
        """Stops; the journal knows what is left to do."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _happen(self, plan: Plan) -> None:
        await _until(plan.due)
        if (plan.request, plan.type) not in self._store.plans:
            return  # brought forward, and over
        records = happen(self._store, plan)
        await self._store.commit(*records)
        for record in records:
            if isinstance(record, Callback):
                self.send(record)

    async def _send(self, callback: Callback) -> None:
        await _until(callback.due)
        outcome: Literal["delivered", "given_up"] = "delivered"
        # A crash between two copies sends all of them again: at least so many, never fewer.
        for _ in range(callback.copies):
            if not await self._delivered(callback):
                outcome = "given_up"
        await self._store.commit(callback.model_copy(update={"outcome": outcome}))

    async def _delivered(self, callback: Callback) -> bool:
        """Sends until there is an answer that settles it; whether that was a good one."""
        wait = FIRST_WAIT
        while True:
            status = await self._try(callback)
            if status is not None and 200 <= status < 300:
                return True
            if status is not None and 400 <= status < 500 and status not in TRY_AGAIN_LATER:
                logger.warning(
                    "callback %s: given up, because the receiver answered %d",
                    callback.event_id,
                    status,
                )
                return False
            logger.info(
                "callback %s: not delivered (%s), trying again",
                callback.event_id,
                status or "no answer",
            )
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def _try(self, callback: Callback) -> int | None:
        signer = self._signers.of(callback.source)
        headers = signer.headers(callback.event_id, int(time.time()), callback.body)
        try:
            response = await self._client.post(
                f"{self._url}/webhooks/{callback.source}",
                content=callback.body,
                headers={"content-type": "application/json", **headers},
            )
        except httpx.HTTPError:
            return None
        return response.status_code


async def _until(due: datetime) -> None:
    await asyncio.sleep(max(0, (due - datetime.now(UTC)).total_seconds()))
