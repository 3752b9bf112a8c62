"""The payment provider. Amounts are in minor units of the currency."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from activities.effect import Body, Env, effect, listing


class Charge(Body):
    """Money to take."""

    amount: int
    currency: str
    payment_method: str
    customer: str


class Refund(Body):
    """Gives back whatever the charge that it undoes has taken."""


charge = effect("payment.charge", Charge)
refund = effect("payment.refund", Refund)


def charges(env: Env, since: datetime) -> AsyncIterator[dict[str, Any]]:
    """Every charge that the provider knows of, oldest first; it is asked, not believed to be ours.

    Raises:
        Fault: it did not say.
    """
    return listing(env, "payment.charge", since)
