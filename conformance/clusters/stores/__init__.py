"""Where an application and Dapr keep what they know: a file for each kind, called as it is chosen.

To add one, write a module with a `STORE`, and `components/<name>/` with the component of Dapr that
reads what `STORE.environment` says. A store that is a server is a process like any other: it can be
killed, stopped and paused, and the links to it can be cut.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

__all__ = ["Access", "Contained", "Plain", "Server", "Store", "kinds"]


@dataclass(frozen=True)
class Access:
    """How a client reaches a store: `host:port` of its link, and a password.

    A store that is a file lies in `folder`, which is the client's own.
    """

    address: str
    password: str = field(repr=False)
    folder: str


@dataclass(frozen=True)
class Contained:
    """A server in a container: as the user that its image says, or as the suite's own."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    entrypoint: str | None = None
    as_user_of_image: bool = False


@dataclass(frozen=True)
class Plain:
    """A server as a plain process: what runs it, where, and as whom (uid and gid, if root)."""

    command: tuple[str, ...] = field(repr=False)
    folder: Path
    user: tuple[int, int] = (-1, -1)


@dataclass(frozen=True)
class Server:
    """A store that is a process of its own.

    What it has acknowledged must survive a SIGKILL: the suite would blame the application.
    """

    image: str
    """The public one; it has `port` open."""
    port: int
    contained: Callable[[str], Contained]
    """With this password, which is a hexadecimal number."""
    plain: Callable[[Path, int, str], Plain]
    """With its data in this folder, at this port of loopback, with this password.

    Raises LauncherError when there is no such program here."""
    unready: Callable[[str, int, str], str | None]
    """Why the one at this host and port takes no requests yet; `None` when it does."""
    login: Callable[[Access], str]
    """What the application is told where its target writes the name of the store in braces."""
    stop_signal: signal.Signals = signal.SIGTERM


@dataclass(frozen=True)
class Store:
    """A kind of store. `server` is `None` for a file of its client: no fault can happen to it."""

    environment: Callable[[Access], Mapping[str, str]]
    """What Dapr's component reads from the sidecar's environment."""
    server: Server | None = None


@cache
def kinds() -> Mapping[str, Store]:
    """Every kind of store by its name."""
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: import_module(f"{__name__}.{name}").STORE for name in names}
