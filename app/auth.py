"""Who is calling: bearer tokens (JWT), and what their roles allow.

A key belongs to one algorithm, so a token cannot choose how it is verified (RFC 8725, 3.1).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import jwt
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import ID_PATTERN, Parts, PartsOf
from app.errors import Problem
from app.settings import SigningKey
from app.store import audit_trail, clock, records

AUDIENCE = "steadfast"
LINK_AUDIENCE = "steadfast-link"
Role = Literal["requester", "approver", "director", "operator"]


class Principal(BaseModel):
    """A caller whose token is good."""

    model_config = ConfigDict(frozen=True)

    subject: str = Field(min_length=1, max_length=100, pattern=r"^[\w.@+-]+$")
    roles: frozenset[Role]


# Says in the API's description that a token is needed; `authenticate` is what looks at it.
BEARER = Depends(HTTPBearer(auto_error=False, bearerFormat="JWT", description="see the README"))


def _refused(name: str, title: str, detail: str | None = None) -> Problem:
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
        raise _refused("bad-token", "Token refused", type(error).__name__) from error
    return claims


def authenticate(parts: Parts, request: Request) -> Principal:
    """The caller.

    Raises:
        Problem: 401, there is no token, or it is not good.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _refused("no-token", "A bearer token is needed")
    claims = read(parts.settings.jwt_keys, AUDIENCE, token)
    try:
        return Principal(subject=claims["sub"], roles=frozenset(claims.get("roles", ())))
    except (ValueError, TypeError) as error:
        raise _refused("bad-token", "Token refused", "claims") from error


def require(*roles: Role) -> Callable[[PartsOf, Request, Any], Awaitable[Principal]]:
    """A dependency: the caller, who must have one of these roles."""

    async def check(parts: PartsOf, request: Request, _: Any = BEARER) -> Principal:
        principal = authenticate(parts, request)
        if not principal.roles.intersection(roles):
            if request.method != "GET":  # looking writes nothing
                await _note_refusal(parts, principal, request)
            raise Problem(403, "wrong-role", "Not allowed", f"needs {' or '.join(roles)}")
        return principal

    return check


async def _note_refusal(parts: Parts, principal: Principal, request: Request) -> None:
    """Keeps in the trail of an instance who has tried what, as often as the trail keeps it."""
    instance = request.path_params.get("id", "").partition("/")[0]
    if not re.fullmatch(ID_PATTERN, instance):
        return  # what the path says is not validated yet
    what = request.url.path.rpartition("/")[2]
    async with parts.store.transaction() as tx:
        if await records.get(tx, instance) is None:
            return
        await audit_trail.refuse(
            tx,
            instance=instance,
            who=principal.subject,
            via="api",
            what="answer" if request.url.path.startswith("/interventions/") else what,
            verdict="role",
            event_id=None,
        )


Requester = Annotated[Principal, Depends(require("requester", "operator"))]
Reader = Annotated[Principal, Depends(require("requester", "approver", "director", "operator"))]
Decider = Annotated[Principal, Depends(require("approver", "director", "operator"))]
Operator = Annotated[Principal, Depends(require("operator"))]


def expires_in(seconds: float) -> int:
    """The `exp` of a token that is good for so long from now."""
    return int(clock.now().timestamp() + seconds)
