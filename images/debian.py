"""Debian's packages, installed where something needs them and we may."""

import logging
import os
import shutil
import subprocess

from images import ImageError

log = logging.getLogger(__name__)

DEADLINE = 900.0
"""Seconds for one command, on a machine that is busy with something else."""


def install(*packages: str) -> None:
    """Install packages; another apt-get that is at work is waited for.

    Raises:
        ImageError: this is not Debian, we are not root, or apt-get refuses; says what to do.
    """
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ImageError(f"missing here: {names}; as root on Debian: apt-get install {names}")
    log.info("installing %s", names)
    # In run level 1 a package does not start the service that it brings.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    quiet = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        try:
            done = subprocess.run(
                [*quiet, *arguments], env=env, capture_output=True, text=True, timeout=DEADLINE
            )
        except subprocess.TimeoutExpired as error:
            raise ImageError(f"apt-get {arguments[0]}: not done in {DEADLINE:g} s") from error
        if done.returncode != 0:
            raise ImageError(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-1000:]}")
