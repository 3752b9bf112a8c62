"""Builds the images of docker-compose.yml and of the suite's containers, where none can be pulled.

`python -m images` builds them, under fixed names. What that takes and is not there is installed
from Debian's packages, as far as we may: Docker, debootstrap, docker-compose, servers.
"""


class ImageError(Exception):
    """Something that cannot be had here; the message says what, and how to get it."""
