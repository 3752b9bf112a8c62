"""`python -m images.servers`: the servers that tests start as plain processes, from Debian."""

from __future__ import annotations

import logging
import shutil
import sys

from images import ImageError
from images.debian import install
from launcher.postgres import find_binaries

log = logging.getLogger(__name__)


def ensure_installed() -> None:
    """Installs what is not there.

    Raises:
        ImageError: something cannot be installed; says how.
    """
    if find_binaries() is None:
        install("postgresql")
    if shutil.which("redis-server") is None:
        install("redis-server")
    log.info("using PostgreSQL in %s and %s", find_binaries(), shutil.which("redis-server"))


def main() -> int:
    """Exit status: 0 all servers are there, 1 one cannot be had, said on one line."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        ensure_installed()
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
