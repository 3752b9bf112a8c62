"""Commands, and one process at a time for what two must not do at once."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from images import ImageError
from launcher.runtime import BUILT

# Debian keeps daemons and iptables where only root's own PATH looks for them.
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def run(command: Sequence[str], timeout: float, **options: object) -> str:
    """What a command prints.

    Raises:
        ImageError: it failed, or took more than `timeout` seconds.
    """
    try:
        done = subprocess.run(  # type: ignore[call-overload]
            command, timeout=timeout, capture_output=True, text=True, **options
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{' '.join(command[:3])}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise ImageError(f"{' '.join(command[:3])} failed: {said}")
    printed: str = done.stdout
    return printed


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Waits for another process that does this on the same checkout."""
    BUILT.mkdir(exist_ok=True)
    with (BUILT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
