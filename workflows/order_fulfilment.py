"""An order: charge, reserve, ship, confirm, wait for the parcel to leave, tell the customer.

The parcel's departure is the pivot: until then everything can be undone, afterwards nothing.
A charge may stay pending for days; a shipment that is cancelled while the carrier picks it up
cannot be undone any more (`too_late`), and then the order is fulfilled after all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from workflows.definition import Version
from workflows.instance import Abort, Yields
from workflows.messages import Event, Message, Pivot, RetryRule, Settling
from workflows.saga import Saga, Step

CHARGE = Step("charge", "payment.charge", "refund", "payment.refund")
RESERVE = Step("reserve", "inventory.reserve", "release", "inventory.release")
SHIP = Step(
    "create_shipment", "carrier.create_shipment", "cancel_shipment", "carrier.cancel_shipment"
)
# Nothing takes a confirmation back but the letter at the end, which says how the order went.
CONFIRM = Step("confirm", "notifier.send", on_failure="tell")
NOTIFY = Step("notify", "notifier.send")
STEPS = (CHARGE, RESERVE, SHIP)

DAY = 86_400


class Line(Message):
    """One article of an order. `unit_price` is in minor units of the order's currency."""

    sku: str
    quantity: int
    unit_price: int


class Order(Message):
    """What the workflow needs of an order. Timeouts are seconds from the start of each wait."""

    id: str
    customer: str
    currency: str
    lines: list[Line]
    ship_to: dict[str, str]
    payment_method: str
    payment_timeout: float = 7 * DAY
    picking_timeout: float = 2 * DAY
    pickup_timeout: float = 3 * DAY
    retry: RetryRule = Field(default_factory=RetryRule)

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


def order_fulfilment(saga: Saga, order: Order) -> Yields[str]:
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
        yield from saga.step(SHIP, {"ship_to": order.ship_to, "lines": lines})
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
    word = "FULFILLED" if outcome.done else "REFUSED" if outcome.refused else "COMPENSATED"
    letter: dict[str, Any] = {"to": order.customer, "template": f"order_{word.lower()}"}
    yield from saga.must(NOTIFY, letter)
    return (yield from saga.end(word, outcome.reason))


def _expect(event: Event | None, what: str, bad: str | None = None) -> None:
    if event is None:
        raise Abort(f"{what} deadline passed")
    if event.type == bad:
        raise Abort(event.type)


V1 = Version(
    "order_fulfilment",
    "v1",
    order_fulfilment,
    Order,
    steps=lambda _: STEPS,
    hears=frozenset({"payment", "warehouse", "carrier"}),
)
