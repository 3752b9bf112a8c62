"""Orders: paid and collected at once or after days, refused, given up, cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulation.schedule import DAY, HOUR
from simulation.stories.plot import Plot, Story

UP = frozenset({"FULFILLED"})
DOWN = frozenset({"COMPENSATED"})
NO = frozenset({"REFUSED"})


def _order(plot: Plot, **changes: Any) -> None:
    quantity, price = plot.rng.randint(1, 5), plot.rng.randint(1, 20_000)
    body: dict[str, Any] = {
        "customer": "c-17",
        "currency": "EUR",
        "lines": [{"sku": "SKU-1", "quantity": quantity, "unit_price": price}],
        "ship_to": {"name": "A. Person", "line1": "Street 1", "postcode": "1", "country": "DE"},
        "payment_method": "pm-ok",
    }
    plot.start("/orders", {**body, **changes})


def _order_quick(plot: Plot) -> None:
    _order(plot)


def _parcel(plot: Plot, picked: float, collected: float) -> None:
    plot.later("carrier.create_shipment", warehouse__picked=picked, carrier__picked_up=collected)


def _order_days(plot: Plot) -> None:
    _order(plot)
    _parcel(plot, plot.between(HOUR, 40 * HOUR), plot.between(HOUR, 60 * HOUR))


def _order_early(plot: Plot) -> None:
    """The carrier is faster than the word of it: both callbacks come at the same moment, twice."""
    _order(plot)
    changes = {"warehouse.picked": {"after": 30, "copies": 2}, "carrier.picked_up": {"after": 0}}
    plot.script("carrier.create_shipment", {"callbacks": changes})
    plot.moments.append(plot.begins + 30)


def _order_declined(plot: Plot) -> None:
    _order(plot, payment_method="pm-declined")


def _order_no_stock(plot: Plot) -> None:
    _order(plot, lines=[{"sku": "SKU-NONE", "quantity": 1, "unit_price": 500}])


def _order_not_served(plot: Plot) -> None:
    ship_to = {"name": "A. Person", "line1": "Street 1", "postcode": "1", "country": "ZZ"}
    _order(plot, ship_to=ship_to)


def _order_lost(plot: Plot) -> None:
    _order(plot, lines=[{"sku": "SKU-LOST", "quantity": 2, "unit_price": 700}])
    plot.later("carrier.create_shipment", warehouse__not_found=plot.between(60, 40 * HOUR))


def _order_unpicked(plot: Plot) -> None:
    _order(plot)
    _parcel(plot, -1, 0)
    plot.moments.append(plot.begins + 2 * DAY)


def _order_left(plot: Plot) -> None:
    _order(plot)
    _parcel(plot, plot.between(1, 30 * HOUR), -1)


def _order_captured(plot: Plot) -> None:
    _order(plot, payment_method="pm-pending")
    plot.later("payment.charge", payment__captured=plot.between(2 * DAY, 3 * DAY))


def _order_unpaid(plot: Plot) -> None:
    _order(plot, payment_method="pm-fails-later")
    plot.later("payment.charge", payment__failed=plot.between(60, 5 * DAY))


def _order_abandoned(plot: Plot) -> None:
    """Never paid: given up after a week; what is captured afterwards is not taken."""
    _order(plot, payment_method="pm-pending")
    plot.later("payment.charge", payment__captured=plot.between(7.5 * DAY, 9 * DAY))
    plot.query(9.1 * DAY)


def _order_captured_after_the_end(plot: Plot) -> None:
    """A provider that captures although it was asked to give back: refunded late."""
    _order(plot, payment_method="pm-pending")
    after = plot.between(7.5 * DAY, 9 * DAY)
    changes = {"payment.captured": {"after": after, "despite_undo": True}}
    plot.script("payment.charge", {"callbacks": changes})
    plot.moments += [plot.begins + 7 * DAY, plot.begins + after]
    plot.query(9.1 * DAY)


def _order_cancelled(plot: Plot) -> None:
    _order_days(plot)
    plot.cancel(plot.rng.choice([plot.between(0, 2), plot.between(0, 70 * HOUR)]))


def _order_cancelled_while_unpaid(plot: Plot) -> None:
    _order_captured(plot)
    plot.cancel(plot.between(0, 2 * DAY))


def _order_repeated(plot: Plot) -> None:
    """A client that never believes an answer, not even after the end."""
    _order_quick(plot)
    first = plot.calls[0]
    for after in (plot.between(0, 1), plot.between(1, 60), plot.between(HOUR, DAY)):
        plot.calls.append(first.model_copy(update={"at": round(first.at + after, 3)}))


STORIES: Mapping[str, Story] = {
    "order-quick": Story("order_fulfilment", UP, _order_quick, DOWN, 3),
    "order-days": Story("order_fulfilment", UP, _order_days, DOWN, 3),
    "order-early": Story("order_fulfilment", UP, _order_early, DOWN),
    "order-declined": Story("order_fulfilment", NO, _order_declined, DOWN),
    "order-no-stock": Story("order_fulfilment", NO, _order_no_stock, DOWN),
    "order-not-served": Story("order_fulfilment", NO, _order_not_served, DOWN),
    "order-lost": Story("order_fulfilment", DOWN, _order_lost),
    "order-unpicked": Story("order_fulfilment", DOWN, _order_unpicked),
    "order-left": Story("order_fulfilment", DOWN, _order_left),
    "order-captured": Story("order_fulfilment", UP, _order_captured, DOWN, 2),
    "order-unpaid": Story("order_fulfilment", NO, _order_unpaid, DOWN),
    "order-abandoned": Story("order_fulfilment", DOWN, _order_abandoned),
    "order-captured-after-the-end": Story(
        "order_fulfilment", DOWN, _order_captured_after_the_end, late_money=True
    ),
    "order-cancelled": Story("order_fulfilment", UP | DOWN, _order_cancelled, weight=2),
    "order-cancelled-while-unpaid": Story("order_fulfilment", DOWN, _order_cancelled_while_unpaid),
    "order-repeated": Story("order_fulfilment", UP, _order_repeated, DOWN),
}
