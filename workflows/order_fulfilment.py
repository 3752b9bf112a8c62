"""An order: charge, reserve, ship, wait for the parcel to leave, tell the customer.

The parcel's departure is the pivot: until then everything can be undone, afterwards nothing.
A charge may stay pending for days; a shipment that is cancelled while the carrier picks it up
cannot be undone any more (`too_late`), and then the order is fulfilled after all.
"""

from __future__ import annotations

from typing import Any

from dapr.ext.workflow import DaprWorkflowContext
from pydantic import Field

from workflows.instance import Abort, Yields
from workflows.messages import Event, Message, RetryRule
from workflows.saga import Saga, Step

CHARGE = Step("charge", "payment.charge", "refund", "payment.refund")
RESERVE = Step("reserve", "inventory.reserve", "release", "inventory.release")
SHIP = Step(
    "create_shipment", "carrier.create_shipment", "cancel_shipment", "carrier.cancel_shipment"
)
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


def order_fulfilment(ctx: DaprWorkflowContext, order: Order) -> Yields[str]:
    """Ends FULFILLED, REFUSED (somebody said no) or COMPENSATED (a fault, a deadline, a cancel)."""
    saga = Saga(ctx, order.id, STEPS, order.retry)
    beginning = yield from saga.begin()
    if not beginning.proceed:
        return beginning.outcome or "NOT_ACCEPTED"
    lines = [{"sku": line.sku, "quantity": line.quantity} for line in order.lines]

    def forward() -> Yields[None]:
        charge = {
            "amount": order.amount,
            "currency": order.currency,
            "payment_method": order.payment_method,
            "customer": order.customer,
        }
        charged = yield from saga.step(CHARGE, charge)
        if charged.result == "pending":
            _expect(
                "payment.captured",
                (yield from saga.wait("payment", order.payment_timeout)),
                "payment",
            )
        yield from saga.step(RESERVE, {"lines": lines})
        yield from saga.step(SHIP, {"ship_to": order.ship_to, "lines": lines})
        _expect(
            "warehouse.picked",
            (yield from saga.wait("warehouse", order.picking_timeout)),
            "picking",
        )
        _expect(
            "carrier.picked_up", (yield from saga.wait("carrier", order.pickup_timeout)), "pickup"
        )

    outcome = yield from saga.run(forward)
    word = "FULFILLED" if outcome.done else "REFUSED" if outcome.refused else "COMPENSATED"
    letter: dict[str, Any] = {"to": order.customer, "template": f"order_{word.lower()}"}
    yield from saga.must(NOTIFY, letter)
    return (yield from saga.end(word, outcome.reason))


def _expect(event_type: str, event: Event | None, what: str) -> None:
    if event is None:
        raise Abort(f"{what} deadline passed")
    if event.type != event_type:
        raise Abort(event.type, refused=event.type == "payment.failed")
