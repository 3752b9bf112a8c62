"""Signatures of webhooks, after the Standard Webhooks specification."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from app.errors import Problem
from app.store import clock

TOLERANCE = 300  # seconds that a signature stays good, in both directions


def _bad(why: str) -> Problem:
    return Problem(401, "bad-signature", "Signature refused", why)


def sign(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a body."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """The event id of a webhook whose signature is good and fresh.

    Raises:
        Problem: 401, the signature is missing, wrong or older than `TOLERANCE`.
    """
    event_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not event_id or len(event_id) > 200 or not event_id.isprintable():
        raise _bad("webhook-id is missing or absurd")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise _bad("webhook-timestamp is missing or absurd")
    if abs(clock.now().timestamp() - int(timestamp)) > TOLERANCE:
        raise _bad("webhook-timestamp is outside the tolerance")
    expected = sign(secret, event_id, int(timestamp), body).encode()
    offered = headers.get("webhook-signature", "").split()
    if not any(hmac.compare_digest(one.encode("utf-8", "replace"), expected) for one in offered):
        raise _bad("no signature matches")
    return event_id
