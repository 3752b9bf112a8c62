"""The payment provider. Amounts are in minor units of the currency."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ValidationError

from activities.effect import Env, Fault, listing

CHARGE, REFUND = "payment.charge", "payment.refund"


class ListedCharge(BaseModel):
    """A charge as the provider lists it: `key` is ours or another's, `instance` what it was for."""

    key: str
    instance: str
    result: str
    at: AwareDatetime


async def charges(env: Env, since: datetime) -> AsyncGenerator[list[ListedCharge], None]:
    """Every charge that the provider knows of, oldest first; it is asked, not believed to be ours.

    Raises:
        Fault: it did not say.
    """
    async with aclosing(listing(env, CHARGE, since)) as pages:
        async for page in pages:
            try:
                taken = [ListedCharge.model_validate(item) for item in page]
            except ValidationError as error:
                raise Fault(f"{CHARGE}: a listing that makes no sense") from error
            yield taken
