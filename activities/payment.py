"""The payment provider. Amounts are in minor units of the currency."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ValidationError

from activities.effect import Body, Env, Fault, effect, listing


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


class Taken(BaseModel):
    """A charge as the provider lists it: `key` is ours or another's, `instance` what it was for."""

    key: str
    instance: str
    result: str
    at: AwareDatetime


async def charges(env: Env, since: datetime) -> AsyncGenerator[list[Taken], None]:
    """Every charge that the provider knows of, oldest first; it is asked, not believed to be ours.

    Raises:
        Fault: it did not say.
    """
    async with aclosing(listing(env, "payment.charge", since)) as pages:
        async for page in pages:
            try:
                taken = [Taken.model_validate(item) for item in page]
            except ValidationError as error:
                raise Fault("payment.charge: a listing that makes no sense") from error
            yield taken
