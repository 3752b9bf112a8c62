"""Finds the Dapr binaries, or builds them from the modules that ``runtime/`` pins.

A checkout keeps what it builds in ``.runtime/``, an installed package in the user's cache.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.files import last_lines
from launcher.settings import INSTALLED, RESOURCES, ROOT

log = logging.getLogger(__name__)

CORE = ("daprd", "placement", "scheduler")
"""What a stack runs on; the other tools are for people and for the conformance suite."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
BUILT = CACHE / "steadfast" / "runtime" if INSTALLED else ROOT / ".runtime"
BUILD_DEADLINE = 3600.0
"""Seconds for one binary: the first build on a slow machine also downloads all of Dapr."""


@dataclass(frozen=True)
class Tool:
    """A binary that Go can build from a pinned module."""

    name: str
    module: str
    package: str
    version_symbol: str
    folder: Path = RESOURCES / "runtime"
    tags: str = ""

    @property
    def version(self) -> str:
        """As its go.mod pins it, without the v."""
        pinned = re.search(rf"^\s*(?:require )?{re.escape(self.module)} v(\S+)", self._pins(), re.M)
        if pinned is None:
            raise LauncherError(f"{self.folder / 'go.mod'} does not require {self.module}")
        return pinned[1]

    @property
    def stamp(self) -> str:
        """Changes with every pin: the version alone does not tell a replaced dependency."""
        return f"{self.version} {hashlib.sha256(self._pins().encode()).hexdigest()[:16]}"

    def command(self, target: Path) -> list[str]:
        """The build, to be run in its folder. It leaves go.mod and go.sum as they are."""
        flags = f"-s -w -X {self.version_symbol}={self.version}"
        command = ["go", "build", "-mod=readonly", "-trimpath", f"-ldflags={flags}"]
        return [*command, f"-tags={self.tags}", "-o", str(target), self.package]

    def _pins(self) -> str:
        return (self.folder / "go.mod").read_text()


def _dapr(name: str) -> Tool:
    module = "github.com/dapr/dapr"
    symbol = f"{module}/pkg/buildinfo.version"
    return Tool(name, module, f"{module}/cmd/{name}", symbol, tags="stablecomponents")


TOOLS = {
    tool.name: tool
    for tool in (
        *(_dapr(name) for name in CORE),
        Tool(
            "toxiproxy",
            "github.com/Shopify/toxiproxy/v2",
            "github.com/Shopify/toxiproxy/v2/cmd/server",
            "github.com/Shopify/toxiproxy/v2.Version",
        ),
        Tool(
            "dapr",
            "github.com/dapr/cli",
            "github.com/dapr/cli",
            "main.version",
            folder=RESOURCES / "runtime" / "cli",
        ),
    )
}


def find_or_build(needed: Sequence[str] = CORE, named: Path | None = None) -> Mapping[str, Path]:
    """The paths of these tools; says in the log where they come from.

    The first of: the folder that the person names, what was built here before, an installed
    Dapr of the pinned version (the first three tools only), a build.

    Args:
        needed: names from ``TOOLS``.
        named: the folder that the person names; whatever version is in it is theirs to judge. It
            has all of Dapr that is needed, and may have the other tools.

    Raises:
        LauncherError: when there is nothing to run and nothing to build with, or a build fails.
    """
    found = {name: BUILT / name for name in needed if _built(name)}
    core = [name for name in needed if name in CORE]
    if named is not None:
        found |= _all_in(named, [*core, *(name for name in needed if _runs(named / name))])
        log.info("using the Dapr binaries in %s", named)
    elif all(name in found for name in core):
        log.info("using Dapr %s, built before in %s", TOOLS["daprd"].version, BUILT)
    elif (installed := _installed()) is not None:
        found |= {name: installed / name for name in core}
        log.info("using Dapr %s, installed in %s", TOOLS["daprd"].version, installed)
    missing = [name for name in needed if name not in found]
    if missing:
        _build(missing)
    return found | {name: BUILT / name for name in missing}


def _built(name: str) -> bool:
    return (BUILT / name).is_file() and _stamps().get(name) == TOOLS[name].stamp


def _stamps() -> dict[str, str]:
    try:
        stamps: dict[str, str] = json.loads((BUILT / "stamps.json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return stamps


def _all_in(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    lacking = [name for name in names if not _runs(folder / name)]
    if lacking:
        raise LauncherError(f"the folder named for Dapr, {folder}, has no {', '.join(lacking)}")
    return {name: (folder / name).resolve() for name in names}


def _runs(program: Path) -> bool:
    return os.access(program, os.X_OK)


def _installed() -> Path | None:
    """A folder with all three in the pinned version; only daprd can say which it is."""
    on_path = shutil.which("daprd")
    for folder in (Path.home() / ".dapr" / "bin", Path(on_path).parent if on_path else None):
        if folder is None or not all(_runs(folder / name) for name in CORE):
            continue
        command = [str(folder / "daprd"), "--version"]
        try:
            version = subprocess.check_output(command, text=True, timeout=10).strip()
        except (OSError, subprocess.SubprocessError) as error:
            version = f"({error})"
        if version == TOOLS["daprd"].version:
            return folder
        log.info("passing over Dapr %s in %s: another version is pinned", version, folder)
    return None


def _build(names: Sequence[str]) -> None:
    version = TOOLS["daprd"].version
    if shutil.which("go") is None:
        raise LauncherError(
            f"{', '.join(names)} must be built, and there is no Go to build with. Either install "
            f"Go (1.21 or newer; it fetches the exact version itself) and run this again, or, "
            f"for daprd, placement and scheduler, install the Dapr CLI and run\n"
            f"    dapr init --slim --runtime-version {version}\n"
            f"or name a folder that has them: STEADFAST_DAPR_BIN for the application's stack, "
            f"CONFORMANCE_RUNTIME for the suite"
        )
    began = time.monotonic()
    with _only_builder():
        for name in names:
            if not _built(name):  # Another process may have built it while we waited.
                _build_one(TOOLS[name])
    log.info("built %s in %s", ", ".join(names), _duration(began))


@contextmanager
def _only_builder() -> Iterator[None]:
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LauncherError(
                f"another process builds {BUILT}: wait until it has ended, and run this again"
            ) from None
        for draft in BUILT.glob(".draft-*"):  # A builder was killed; we are the only one now.
            shutil.rmtree(draft)
        yield


def _build_one(tool: Tool) -> None:
    output = BUILT / "build.log"
    with (
        tempfile.TemporaryDirectory(dir=BUILT, prefix=".draft-") as draft,
        output.open("wb") as file,
    ):
        target = Path(draft) / tool.name
        builder = subprocess.Popen(
            tool.command(target),
            cwd=tool.folder,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            _watch(builder, f"building {tool.name} {tool.version}")
        finally:
            builder.kill()
            builder.wait(10)
        if builder.returncode != 0:
            raise LauncherError(f"building {tool.name} failed; {last_lines(output)}")
        target.replace(BUILT / tool.name)
    stamps = {**_stamps(), tool.name: tool.stamp}
    draft_stamps = BUILT / ".stamps.json"
    draft_stamps.write_text(json.dumps(stamps, indent=2) + "\n")
    draft_stamps.replace(BUILT / "stamps.json")


def _watch(builder: subprocess.Popen[bytes], doing: str) -> None:
    """Show that it goes on: on one line at a terminal, every 30 s in a log."""
    terminal = sys.stderr.isatty()
    began = time.monotonic()
    while True:
        try:
            builder.wait(1 if terminal else 30)
            break
        except subprocess.TimeoutExpired:
            if time.monotonic() - began > BUILD_DEADLINE:
                raise LauncherError(f"{doing} took longer than {BUILD_DEADLINE:g} s") from None
            if terminal:
                sys.stderr.write(f"\r{doing}: {_duration(began)} ")
                sys.stderr.flush()
            else:
                log.info("%s: %s", doing, _duration(began))
    if terminal:
        sys.stderr.write("\r\x1b[K")


def _duration(began: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
