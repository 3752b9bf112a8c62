"""Messages to people. Nothing unsends one, so they come behind the pivot."""

from activities.effect import Body, effect


class Letter(Body):
    """A message made from a template; `by` is who decided, and `comment` what they said."""

    to: str
    template: str
    about: str | None = None
    link: str | None = None
    by: str | None = None
    comment: str | None = None


send = effect("notifier.send", Letter)
