"""Bearer tokens for a running stack."""

from __future__ import annotations

import time
from typing import Any

import jwt

from launcher.stack import Stack


def token(stack: Stack, subject: str, *roles: str, **claims: Any) -> str:
    """A token as the application expects it, unless its claims are changed."""
    good = {"sub": subject, "roles": roles, "aud": "steadfast", "exp": int(time.time()) + 3600}
    headers = {"kid": "launcher"}
    return jwt.encode({**good, **claims}, stack.secrets.jwt_key, "HS256", headers=headers)
