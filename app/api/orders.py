"""Orders: POST /orders starts an order_fulfilment."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from app.api.common import Id, PartsOf, Phrase, Request_, Word
from app.api.starts import IdempotencyKey, accept
from workflows.messages import RetryRule
from workflows.order_fulfilment import DAY

router = APIRouter(tags=["starts"])

Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Timeout = Annotated[float, Field(gt=0, le=365 * DAY, allow_inf_nan=False, strict=False)]


class Line(Request_):
    """One article; `unit_price` in minor units of the currency."""

    sku: Word
    quantity: int = Field(ge=1, le=100_000)
    unit_price: int = Field(ge=0, le=1_000_000_000)


class Address(Request_):
    """Where the parcel goes."""

    name: Phrase
    line1: Phrase
    postcode: Word
    country: Country
    line2: Phrase | None = None
    city: Word | None = None


class Retry(Request_):
    """How patiently faults of providers are retried. Durations are seconds."""

    attempts: int = Field(default=10, ge=1, le=20)
    first: Annotated[float, Field(ge=0.05, le=60, strict=False)] = 0.5
    cap: Annotated[float, Field(ge=0.05, le=3600, strict=False)] = 30


class OrderRequest(Request_):
    """An order. Timeouts are seconds from the start of each wait."""

    id: Id | None = None
    customer: Word
    currency: Currency
    lines: Annotated[list[Line], Field(min_length=1, max_length=200)]
    ship_to: Address
    payment_method: Word
    payment_timeout: Timeout = 7 * DAY
    picking_timeout: Timeout = 2 * DAY
    pickup_timeout: Timeout = 3 * DAY
    retry: Retry = Retry()


@router.post("/orders", status_code=202)
async def start_order(
    parts: PartsOf, order: OrderRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    """Starts an order, once: the same id and body always answer with the same order."""
    request = order.model_dump(mode="json", exclude_none=True)
    return await accept(
        parts,
        kind="order_fulfilment",
        id=order.id,
        idempotency_key=idempotency_key,
        request=request,
        input={**request, "retry": RetryRule(**order.retry.model_dump()).model_dump()},
    )
