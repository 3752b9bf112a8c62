"""Orders: POST /orders starts an order_fulfilment."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from app.api.auth import Requester
from app.api.common import PartsOf, Phrase, Request_, Whole, Word
from app.api.starts import IdempotencyKey, StartRequest, Timeout, accept
from workflows.order_fulfilment import DAY

router = APIRouter(tags=["starts"])

Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class Line(Request_):
    """One article; `unit_price` in minor units of the currency."""

    sku: Word
    quantity: Whole = Field(ge=1, le=100_000)
    unit_price: Whole = Field(ge=0, le=1_000_000_000)


class Address(Request_):
    """Where the parcel goes."""

    name: Phrase
    line1: Phrase
    postcode: Word
    country: Country
    line2: Phrase | None = None
    city: Word | None = None


class OrderRequest(StartRequest):
    """An order. Timeouts are seconds from the start of each wait."""

    customer: Word
    currency: Currency
    lines: Annotated[list[Line], Field(min_length=1, max_length=200)]
    ship_to: Address
    payment_method: Word
    payment_timeout: Timeout = 7 * DAY
    picking_timeout: Timeout = 2 * DAY
    pickup_timeout: Timeout = 3 * DAY


@router.post("/orders", status_code=202)
async def start_order(
    parts: PartsOf,
    _: Requester,
    order: OrderRequest,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Starts an order, once: the same id and body always answer with the same order."""
    return await accept(parts, "order_fulfilment", order, idempotency_key)
