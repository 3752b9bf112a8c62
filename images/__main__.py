"""`python -m images`: builds all images, and makes the secrets that docker-compose.yml wants."""

from __future__ import annotations

import logging
import sys

from images import ImageError, compose
from images.build import build_all
from images.daemon import ensure_running
from launcher.errors import LauncherError
from launcher.settings import Settings


def main() -> int:
    """Exit status: 0 all images are there, 1 one cannot be had, said in words."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        for name in build_all(ensure_running()):
            print(name)
        print(compose.write_secrets(Settings.load().run_dir))
    except (ImageError, LauncherError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
