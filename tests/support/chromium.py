"""A real browser for tests: Debian's Chromium, without a window and without a network."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.debian import install
from launcher.errors import LauncherError

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW = "there is no Chromium here: apt-get install chromium"


def ensure_installed() -> str:
    """The browser's program; installs Debian's package where that is possible.

    Raises:
        LauncherError: when there is none and it cannot be installed; says how.
    """
    if (found := _find()) is not None:
        return found
    install("chromium")
    if (found := _find()) is None:
        raise LauncherError(HOW)
    return found


class Chromium:
    """A browser with one profile; every call opens a page, waits until it is drawn, and ends."""

    def __init__(self, profile: Path) -> None:
        self._program = ensure_installed()
        self._profile = profile

    def dom(self, address: str, timeout: float = 120) -> str:
        """The document as scripts have left it, as HTML.

        Raises:
            LauncherError: the browser failed, or was not done after so many seconds.
        """
        return self._run(["--dump-dom", address], timeout)

    def screenshot(
        self, address: str, file: Path, *, width: int, height: int, dark: bool = False
    ) -> None:
        """Writes a PNG of so many pixels.

        Raises:
            LauncherError: as `dom`.
        """
        window = f"--window-size={width},{height}"
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        options = ["--hide-scrollbars", window, scheme, f"--screenshot={file}"]
        self._run([*options, address], 60)

    def _run(self, arguments: list[str], timeout: float) -> str:
        # Root has no use for the sandbox, and QUIC, updates and sync would look for a network.
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ]
        options += ["--disable-background-networking", "--disable-component-update"]
        options += ["--disable-sync", "--virtual-time-budget=5000", "--disable-dev-shm-usage"]
        command = [self._program, *options, f"--user-data-dir={self._profile}", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise LauncherError(f"Chromium was not done after {timeout:.0f} s") from error
        if done.returncode != 0:
            raise LauncherError(f"Chromium failed: {done.stderr.strip()[-2000:]}")
        return done.stdout


@contextmanager
def temporary() -> Iterator[Chromium]:
    """A browser with a new profile, which is gone at the end.

    Raises:
        LauncherError: there is none and it cannot be installed.
    """
    # A child of the browser may write into its profile for a moment longer than the browser lives.
    with tempfile.TemporaryDirectory(
        prefix="steadfast-chromium-", ignore_cleanup_errors=True
    ) as profile:
        yield Chromium(Path(profile))


def _find() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)
