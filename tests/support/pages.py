"""Pages that are followed to the letter: the blocks that name a file are its source."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(
    r"^```(?P<kind>\w+) (?P<file>[\w./-]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(page: Path) -> list[re.Match[str]]:
    """The blocks of a page that name a file, in order: `kind`, `file` and `text`."""
    return list(BLOCK.finditer(page.read_text("utf-8")))


def python(path: Path, cwd: Path, *arguments: str, timeout: float = 180) -> str:
    """What Python prints, with `path` before all other folders from which it imports.

    It must end with 0, within `timeout` seconds.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
