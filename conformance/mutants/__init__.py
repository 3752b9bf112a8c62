"""Deliberately broken applications: each one small change of ours, to be caught by one promise.

A mutant is a file `NAME.patch`: comment lines that say what is wrong, and a unified diff for the
target's folder. A line `# key: value` goes on in the lines after it that begin with `#  `.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import ConformanceError
from conformance.faults import parse
from conformance.plan.scenario import ScenarioError
from conformance.promises import checks

__all__ = ["FOLDER", "Mutant", "MutantError", "apply", "apply_patch", "header", "load", "read"]

FOLDER = Path(__file__).parent
KEYS = ("summary", "promise", "paths", "points", "faults")


class MutantError(ConformanceError):
    """A mutant that cannot be read, or that fits the application no longer."""


@dataclass(frozen=True)
class Mutant:
    """A broken application, the promise that it breaks, and the scenarios that show it.

    Every point is tried with every fault on every path; `points` may hold the patterns of a shell.
    """

    name: str
    summary: str
    promise: str
    paths: tuple[str, ...]
    points: tuple[str, ...]
    faults: tuple[str, ...]
    patch: str


def load(folder: Path = FOLDER) -> tuple[Mutant, ...]:
    """Every mutant, by name.

    Raises:
        MutantError: a header is incomplete or names what does not exist; says which.
    """
    return tuple(read(file) for file in sorted(folder.glob("*.patch")))


def read(file: Path) -> Mutant:
    """One mutant.

    Raises:
        MutantError: its header is incomplete or names what does not exist.
    """
    text = file.read_text("utf-8")
    said = header(file.name, text, KEYS)
    if said["promise"] not in checks():
        raise MutantError(
            f"{file.name}: there is no promise {said['promise']}; there are {', '.join(checks())}"
        )
    faults = tuple(said["faults"].split())
    for fault in faults:
        try:
            parse(fault)
        except ScenarioError as error:
            raise MutantError(f"{file.name}: {error}") from error
    return Mutant(
        name=file.stem,
        summary=said["summary"],
        promise=said["promise"],
        paths=tuple(said["paths"].split()),
        points=tuple(said["points"].split()),
        faults=faults,
        patch=text,
    )


def apply(mutant: Mutant, source: Path, folders: Sequence[str], into: Path) -> None:
    """Copies these folders or files of an application into a fresh folder, and breaks them.

    Raises:
        MutantError: the patch fits no longer, or what it changes is not among the folders.
    """
    apply_patch(mutant.name, mutant.patch, source, folders, into)


def apply_patch(name: str, patch: str, source: Path, folders: Sequence[str], into: Path) -> None:
    """The same for a patch that is no mutant of the suite; `name` is what it is called.

    Raises:
        MutantError: it fits no longer, or what it changes is not among the folders.
    """
    if into.exists():
        shutil.rmtree(into)
    into.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__")
    for part in folders:
        if (source / part).is_dir():
            shutil.copytree(source / part, into / part, ignore=ignored)
        elif (source / part).is_file():
            (into / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / part, into / part)
        else:
            raise MutantError(f"{source} has no {part}")
    # Within some other checkout git would leave out, in silence, what is not of that checkout.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(into.resolve().parent)}
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "-"],
        cwd=into,
        env=env,
        input=patch,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        raise MutantError(f"{name} fits the application no longer: {done.stderr.strip()[-500:]}")


def header(name: str, text: str, keys: Sequence[str]) -> dict[str, str]:
    """What is said above a patch, by these keys.

    Raises:
        MutantError: one is missing, or another one is there.
    """
    said: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("#  ") and key:
            said[key] += f" {line[1:].strip()}"
            continue
        key, colon, value = (part.strip() for part in line[1:].partition(":"))
        if not colon or key not in keys or key in said:
            raise MutantError(f"{name}: not a line of a header: {line}")
        said[key] = value
    if missing := [key for key in keys if not said.get(key)]:
        raise MutantError(f"{name}: its header lacks {', '.join(missing)}")
    return said
