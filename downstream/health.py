"""Services whose health is set by a test: what a monitor checks."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from downstream.config import Declared

Status = Annotated[int, Field(ge=200, le=599)]
Service = Annotated[str, Path(min_length=1, max_length=100)]


class State(Declared):
    """How a service answers from now on."""

    status: Status


def routes() -> APIRouter:
    """`/health/SERVICE`. States live in memory only, like every script."""
    states: dict[str, int] = {}
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/{service}")
    async def check(service: Service, until_told: Annotated[Status, Query()] = 200) -> Response:
        """Answers as it was set, or with `until_told` as long as nothing was set."""
        return Response(status_code=states.get(service, until_told))

    @router.put("/{service}", status_code=204)
    async def tell(service: Service, state: State) -> None:
        """Says how a service answers from now on."""
        states[service] = state.status

    return router
