"""An order: charge, reserve, ship, confirm, wait for the parcel to leave, tell the customer.

The parcel's departure is the pivot: until then everything can be undone, afterwards nothing.
A charge may stay pending for days; a shipment that is cancelled while the carrier picks it up
cannot be undone any more (`too_late`), and then the order is fulfilled after all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from workflows.definition import Late, Workflow
from workflows.inputs import DAY, Exact, Input, Phrase, Timeout, Whole, Word
from workflows.instance import Abort, End, Yields
from workflows.messages import Event, Pivot, Settling
from workflows.saga import Saga
from workflows.steps import Step, Undo

CHARGE = Step("charge", "payment.charge", Undo("refund", "payment.refund"))
RESERVE = Step("reserve", "inventory.reserve", Undo("release", "inventory.release"))
SHIP = Step(
    "create_shipment",
    "carrier.create_shipment",
    Undo("cancel_shipment", "carrier.cancel_shipment"),
)
# Nothing takes a confirmation back but the letter at the end, which says how the order went.
CONFIRM = Step("confirm", "notifier.send", on_failure="tell")
NOTIFY = Step("notify", "notifier.send")

DONE, UNDONE = {"FULFILLED"}, {"REFUSED", "COMPENSATED"}


class Line(Exact):
    """One article of an order; `unit_price` in minor units of the currency."""

    sku: Word
    quantity: Whole = Field(ge=1, le=100_000)
    unit_price: Whole = Field(ge=0, le=1_000_000_000)


class Address(Exact):
    """Where the parcel goes."""

    name: Phrase
    line1: Phrase
    postcode: Word
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    line2: Phrase | None = None
    city: Word | None = None


class Order(Input):
    """An order. Timeouts are seconds from the start of each wait."""

    customer: Word
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    lines: Annotated[list[Line], Field(min_length=1, max_length=200)]
    ship_to: Address
    payment_method: Word
    payment_timeout: Timeout = 7 * DAY
    picking_timeout: Timeout = 2 * DAY
    pickup_timeout: Timeout = 3 * DAY

    @property
    def amount(self) -> int:
        """The total in minor units of the currency."""
        return sum(line.quantity * line.unit_price for line in self.lines)


def settling(order: Order) -> Settling:
    """A payment that is pending settles by a callback, days later."""
    return Settling(
        event="payment",
        done="payment.captured",
        failed="payment.failed",
        within=order.payment_timeout,
    )


def order_fulfilment(saga: Saga, order: Order) -> Yields[End]:
    """Ends FULFILLED, REFUSED (somebody said no) or COMPENSATED (a fault, a deadline, a cancel)."""
    lines = [{"sku": line.sku, "quantity": line.quantity} for line in order.lines]

    def forward() -> Yields[None]:
        charge = {
            "amount": order.amount,
            "currency": order.currency,
            "payment_method": order.payment_method,
            "customer": order.customer,
        }
        yield from saga.step(replace(CHARGE, settling=settling(order)), charge)
        yield from saga.step(RESERVE, {"lines": lines})
        ship_to = order.ship_to.model_dump(exclude_none=True)
        yield from saga.step(SHIP, {"ship_to": ship_to, "lines": lines})
        if saga.patched:
            letter = {"to": order.customer, "template": "order_confirmed"}
            yield from saga.step(CONFIRM, letter)
        found = ("warehouse.picked", "warehouse.not_found")
        picked = yield from saga.wait("warehouse", order.picking_timeout, found)
        _expect(picked, "picking", "warehouse.not_found")
        gone = Pivot(type="carrier.picked_up")
        left = yield from saga.wait("carrier", order.pickup_timeout, (gone.type,), gone)
        _expect(left, "pickup")

    outcome = yield from saga.run(forward)
    end = outcome.as_end("FULFILLED", "COMPENSATED", refused="REFUSED")
    letter: dict[str, Any] = {"to": order.customer, "template": f"order_{end.outcome.lower()}"}
    yield from saga.must(NOTIFY, letter)
    return end


def _expect(event: Event | None, what: str, bad: str | None = None) -> None:
    if event is None:
        raise Abort(f"{what} deadline passed")
    if event.type == bad:
        raise Abort(event.type)


V1 = Workflow(
    kind="order_fulfilment",
    version="v1",
    path="/orders",
    input=Order,
    body=order_fulfilment,
    steps=(CHARGE, RESERVE, SHIP),
    others=(CONFIRM, NOTIFY),
    done=DONE,
    undone=UNDONE,
    hears={"payment", "warehouse", "carrier"},
    late={
        "payment.captured": Late(undoes=CHARGE),
        "payment.failed": Late(contradicts=DONE),
        "warehouse.not_found": Late(contradicts=DONE),
        "carrier.picked_up": Late(contradicts=UNDONE),
    },
    audited=CHARGE,
)
