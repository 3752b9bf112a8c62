"""Bearer tokens (JWT): signed here, and read again.

A key belongs to one algorithm, so a token cannot choose how it is verified (RFC 8725, 3.1).
"""

from __future__ import annotations

from typing import Any

import jwt

from app.errors import Problem
from app.settings import SigningKey
from store import clock

AUDIENCE = "steadfast"
LINK_AUDIENCE = "steadfast-link"


def refused(name: str, title: str, detail: str | None = None) -> Problem:
    """A 401 that says that a bearer token is wanted."""
    return Problem(401, name, title, detail, {"WWW-Authenticate": "Bearer"})


def mint(keys: dict[str, SigningKey], kid: str, audience: str, claims: dict[str, Any]) -> str:
    """Signs a token; the same claims give the same token with HS256 and EdDSA."""
    key = keys[kid]
    return jwt.encode(
        {**claims, "aud": audience},
        key.secret.get_secret_value(),
        algorithm=key.algorithm,
        headers={"kid": kid},
    )


def read(keys: dict[str, SigningKey], audience: str, token: str) -> dict[str, Any]:
    """The claims of a token that is good for this audience now.

    Raises:
        Problem: 401; the reason says no more than that it is not good.
    """
    try:
        key = keys[jwt.get_unverified_header(token).get("kid", "")]
        claims: dict[str, Any] = jwt.decode(
            token,
            (key.public or key.secret).get_secret_value(),
            algorithms=[key.algorithm],
            audience=audience,
            options={"require": ["exp", "sub", "aud"]},
        )
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
        raise refused("bad-token", "Token refused", type(error).__name__) from error
    return claims


def expires_in(seconds: float) -> int:
    """The `exp` of a token that is good for so long from now."""
    return int(clock.now().timestamp() + seconds)
