"""What can go wrong here, in words that a person at a terminal can act on."""


class LauncherError(Exception):
    """Something a person has to change; the message says what, and no traceback is needed."""


class NotReadyError(LauncherError):
    """Something was not there within its deadline."""
