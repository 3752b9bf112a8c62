"""Signatures of webhooks, after the Standard Webhooks specification."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping

from app.errors import Problem
from store import clock

TOLERANCE = 300  # seconds that a signature stays good, in both directions
SHORTEST = 24  # bytes of a secret, as the specification has it


def _bad(why: str) -> Problem:
    return Problem(401, "bad-signature", "Signature refused", why)


def key_of(secret: str) -> bytes:
    """What a secret signs with: after `whsec_` it is base64, otherwise itself.

    Raises:
        ValueError: it is not base64, or shorter than `SHORTEST` bytes.
    """
    encoded = secret.startswith("whsec_")
    key = base64.b64decode(secret[6:], validate=True) if encoded else secret.encode()
    if len(key) < SHORTEST:
        raise ValueError(f"a webhook secret has at least {SHORTEST} bytes")
    return key


def sign(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a body."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode()


def verify(secrets: Iterable[str], headers: Mapping[str, str], body: bytes) -> str:
    """The event id of a webhook whose signature is fresh, and good by one of these secrets.

    Raises:
        Problem: 401, the signature is missing, wrong or older than `TOLERANCE`.
    """
    event_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not event_id or len(event_id) > 200 or not event_id.isprintable():
        raise _bad("webhook-id is missing, or no printable text of up to 200 characters")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise _bad("webhook-timestamp is missing, or no number of seconds since 1970")
    if abs(clock.now().timestamp() - int(timestamp)) > TOLERANCE:
        raise _bad(f"webhook-timestamp is more than {TOLERANCE:.0f} s away: sign anew")
    offered = [one.encode() for one in headers.get("webhook-signature", "").split()]
    for secret in secrets:
        expected = sign(secret, event_id, int(timestamp), body).encode()
        if any(hmac.compare_digest(one, expected) for one in offered):
            return event_id
    raise _bad("no signature matches: sign id, timestamp and body with the secret of this source")
