"""Who is calling, and what their roles allow."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Services, ServicesOf
from app.errors import Problem
from app.tokens import AUDIENCE, read, refused
from store import audit_trail, records
from workflows.inputs import ID_PATTERN

Role = Literal["requester", "approver", "director", "operator"]


class Principal(BaseModel):
    """A caller whose token is good."""

    model_config = ConfigDict(frozen=True)

    subject: str = Field(min_length=1, max_length=100, pattern=r"^[\w.@+-]+$")
    roles: frozenset[Role]


# Says in the API's description that a token is needed; `authenticate` is what looks at it.
BEARER = Depends(HTTPBearer(auto_error=False, bearerFormat="JWT", description="see the README"))


def authenticate(services: Services, request: Request) -> Principal:
    """The caller.

    Raises:
        Problem: 401, there is no token, or it is not good.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise refused("no-token", "A bearer token is needed")
    claims = read(services.settings.jwt_keys, AUDIENCE, token)
    try:
        return Principal(subject=claims["sub"], roles=frozenset(claims.get("roles", ())))
    except (ValueError, TypeError) as error:
        raise refused("bad-token", "Token refused", "claims") from error


def require(*roles: Role) -> Callable[[ServicesOf, Request, Any], Awaitable[Principal]]:
    """A dependency: the caller, who must have one of these roles."""

    async def check(services: ServicesOf, request: Request, _: Any = BEARER) -> Principal:
        principal = authenticate(services, request)
        if not principal.roles.intersection(roles):
            if request.method != "GET":  # looking writes nothing
                await _note_refusal(services, principal, request)
            raise Problem(403, "wrong-role", "Not allowed", f"needs the role {' or '.join(roles)}")
        return principal

    return check


async def _note_refusal(services: Services, principal: Principal, request: Request) -> None:
    """Keeps in the trail of an instance who has tried what, as often as the trail keeps it."""
    instance = request.path_params.get("id", "").partition("/")[0]
    if not re.fullmatch(ID_PATTERN, instance):
        return  # what the path says is not validated yet
    what = request.url.path.rpartition("/")[2]
    async with services.store.transaction() as tx:
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
