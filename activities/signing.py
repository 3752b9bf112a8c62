"""The signing service: a document goes to its signers, and can be voided."""

from activities.effect import Body, effect


class Envelope(Body):
    """A document and everybody who has to sign it."""

    title: str
    signers: list[str]


class Void(Body):
    """Takes back whatever was sent under the key that it names."""


send = effect("signing.send", Envelope)
void = effect("signing.void", Void)
