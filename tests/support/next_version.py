"""The application as it will be after a change of order_fulfilment: `NEXT=version|patch|broken`.

- `version`: a new version, v2, reserves before it charges; v1 stays for instances under way
- `patch`: the same change inside v1, behind a patch
- `broken`: a bad deployment: every turn of v1 raises
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import app.worker
from app.serve import serve
from workflows import WORKFLOWS, Workflow
from workflows.instance import End
from workflows.order_fulfilment import CHARGE, CONFIRM, NOTIFY, RESERVE, SHIP, Order, settling
from workflows.saga import Saga

PATCH = "reserve-first"
Run = Generator[Any, Any, End]


def changed(saga: Saga, order: Order) -> Run:
    """Reserves first, where the instance may."""
    ship_to = order.ship_to.model_dump(exclude_none=True)
    lines = [{"sku": line.sku, "quantity": line.quantity} for line in order.lines]
    charge = {
        "amount": order.amount,
        "currency": order.currency,
        "payment_method": order.payment_method,
        "customer": order.customer,
    }

    def forward() -> Generator[Any, Any, None]:
        reserve_first = os.environ["NEXT"] == "version" or saga.is_patched(PATCH)
        if reserve_first:
            yield from saga.step(RESERVE, {"lines": lines})
        yield from saga.step(replace(CHARGE, settling=settling(order)), charge)
        if not reserve_first:
            yield from saga.step(RESERVE, {"lines": lines})
        yield from saga.step(SHIP, {"ship_to": ship_to, "lines": lines})
        yield from saga.step(CONFIRM, {"to": order.customer, "template": "order_confirmed"})
        yield from saga.wait("warehouse", order.picking_timeout)
        yield from saga.wait("carrier", order.pickup_timeout)

    outcome = yield from saga.run(forward)
    end = outcome.as_end("FULFILLED", "COMPENSATED")
    yield from saga.must(NOTIFY, {"to": order.customer, "template": f"order_{end.outcome.lower()}"})
    return end


def broken(saga: Saga, order: Order) -> Run:
    raise AttributeError("'Order' object has no attribute 'custmer'")
    yield


def workflows() -> tuple[Workflow, ...]:
    kind = os.environ["NEXT"]
    ours = next(workflow for workflow in WORKFLOWS if workflow.kind == "order_fulfilment")
    others = tuple(workflow for workflow in WORKFLOWS if workflow is not ours)
    if kind == "version":
        v2 = replace(ours, version="v2", body=changed)
        return (*others, replace(ours, latest=False), v2)
    return (*others, replace(ours, body=broken if kind == "broken" else changed))


if __name__ == "__main__":
    vars(app.worker)["WORKFLOWS"] = workflows()
    serve()
