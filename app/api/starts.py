"""Accept once: a start is kept before anything is scheduled, and answered the same for ever.

Every kind of workflow says where it is started, by whom, and with what; nothing here knows one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import JSONResponse

from app.api.auth import Principal, Role, require
from app.api.common import Services, ServicesOf
from app.api.views import view
from store import audit_trail, records
from workflows import WORKFLOWS, Workflow
from workflows.inputs import Input, Phrase

IdempotencyKey = Annotated[Phrase | None, Header()]


def _mounted() -> APIRouter:
    router = APIRouter(tags=["starts"])
    for workflow in WORKFLOWS:
        if workflow.latest:
            router.post(workflow.path, status_code=202)(_endpoint(workflow))
    return router


def _endpoint(workflow: Workflow) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def start(
        services: ServicesOf, principal: Any, request: Any, idempotency_key: IdempotencyKey = None
    ) -> Response:
        return await accept(services, workflow, principal, request, idempotency_key)

    starters = cast("list[Role]", sorted(workflow.starters))
    model = workflow.request or workflow.input
    # FastAPI reads them to know what to validate with, and whom to let in.
    start.__annotations__ |= {
        "services": ServicesOf,
        "principal": Annotated[Principal, Depends(require(*starters))],
        "request": model,
        "idempotency_key": IdempotencyKey,
        "return": Response,
    }
    start.__name__ = f"start_{workflow.kind}"
    start.__doc__ = (
        f"Starts it once: the same id and body are always answered alike. {model.__doc__}"
    )
    return start


async def accept(
    services: Services,
    workflow: Workflow,
    principal: Principal,
    request: Input,
    idempotency_key: str | None,
) -> Response:
    """Keeps a start and notifies the relay; 202 with the resource, whatever state it is in.

    Who asks belongs to the identity of the start, where the workflow keeps it.

    Raises:
        Conflict: the id or the key belongs to another request.
    """
    rules = getattr(services.settings, workflow.kind) if workflow.rules else None
    acceptance = workflow.accept(request, principal.subject, rules)
    content = request.model_dump(mode="json", exclude_none=True, exclude={"id"})
    identity, *former = (
        records.content_hash([body, acceptance.asked_by] if acceptance.asked_by else body)
        for body in (content, *_as_before(request, content))
    )
    unnamed = request.id is None and idempotency_key is None
    async with services.store.transaction() as tx:
        record = await records.accept(
            tx,
            id=acceptance.id if unnamed else request.id,
            kind=workflow.kind,
            idempotency_key=idempotency_key,
            request_hash=identity,
            former_hashes=former,
            input={**content, **acceptance.fixed},
        )
        if acceptance.audit:
            await audit_trail.once(tx, instance=record["id"], **acceptance.audit)
    services.relay.notify()
    return JSONResponse(view(record), 202, {"Location": f"/workflows/{record['id']}"})


def _as_before(request: Input, content: dict[str, Any]) -> list[dict[str, Any]]:
    """What earlier releases made of the same body: what nobody named had another default."""
    bodies = []
    for defaults in request.FORMER:
        unnamed = {
            name: it for name, it in defaults.items() if name not in request.model_fields_set
        }
        body = {**content, **unnamed}
        bodies.append({name: value for name, value in body.items() if value is not None})
    return bodies


router = _mounted()
