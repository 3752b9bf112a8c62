"""Messages to people. Nothing unsends one, so they come behind the pivot."""

from activities.effect import Body, effect


class Letter(Body):
    """A message made from a template."""

    to: str
    template: str
    about: str | None = None
    link: str | None = None


send = effect("notifier.send", Letter)
