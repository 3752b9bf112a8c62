"""The payment provider. Amounts are in minor units of the currency."""

from activities.effect import Body, effect


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
