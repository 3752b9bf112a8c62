"""Runs the whole stack as plain processes on one machine: no Docker, no Dapr installation.

``make run`` and the tests use the same :class:`Stack`.
"""

from launcher.errors import LauncherError, NotReadyError
from launcher.settings import Settings
from launcher.stack import Replica, Stack

__all__ = ["LauncherError", "NotReadyError", "Replica", "Settings", "Stack"]
