"""What others install: the wheels are whole, and the suite's judges from a folder of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from launcher.settings import ROOT

EXAMPLE = ROOT / "examples" / "transfer"
SUITE = "steadfast_conformance-*.whl"
APPLICATION = "steadfast-*.whl"


def names(wheels: Path, pattern: str) -> set[str]:
    (wheel,) = wheels.glob(pattern)
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def packages(found: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in found if ".dist-info/" not in name}


def copied(folder: Path) -> Path:
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".run"))
    return folder / "target.toml"


def run(
    folder: Path, environment: Mapping[str, str], *command: str | Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_suite_brings_all_that_its_code_reads(wheels: Path) -> None:
    found = names(wheels, SUITE)
    assert packages(found) == {"conformance", "downstream", "launcher"}
    for folder, place in (
        ("components", "launcher/shipped/components"),
        ("runtime", "launcher/shipped/runtime"),
        ("conformance/template", "conformance/template"),
        ("conformance/report/page", "conformance/report/page"),
    ):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files
        assert found >= {f"{place}/{path.relative_to(ROOT / folder)}" for path in files}


def test_the_suite_brings_no_mutant_of_an_application_that_is_not_in_it(wheels: Path) -> None:
    assert not [name for name in names(wheels, SUITE) if name.endswith((".patch", ".pyc"))]


def test_the_application_brings_its_migrations_and_nothing_of_the_suite(wheels: Path) -> None:
    found = names(wheels, APPLICATION)
    assert packages(found) == {"activities", "app", "store", "workflows"}
    assert [name for name in found if "/migrations/versions/" in name]


@pytest.mark.parametrize("pattern", [SUITE, APPLICATION])
def test_both_are_typed_and_licensed(wheels: Path, pattern: str) -> None:
    found = names(wheels, pattern)
    assert found >= {f"{package}/py.typed" for package in packages(found)}
    assert [name for name in found if name.endswith(".dist-info/licenses/LICENSE")]


def test_both_have_one_version() -> None:
    files = (ROOT / "pyproject.toml", ROOT / "distributions" / "conformance" / "pyproject.toml")
    assert len({tomllib.loads(file.read_text())["project"]["version"] for file in files}) == 1


def test_the_application_needs_nothing_of_the_checkout(
    wheels: Path, tmp_path: Path, elsewhere: dict[str, str]
) -> None:
    (wheel,) = wheels.glob(APPLICATION)
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
        (entries,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        declared = ConfigParser()
        declared.read_string(archive.read(entries).decode())
    module, _, function = declared["console_scripts"]["steadfast"].partition(":")
    code = f"import {module} as it; print(it.__file__); it.{function}()"
    histories = ROOT / "tests" / "workflows" / "histories"
    there = {**elsewhere, "PYTHONPATH": str(tmp_path / "unpacked")}
    done = run(tmp_path, there, sys.executable, "-c", code, "replay", histories)
    assert done.returncode == 0, done.stderr
    file, told = done.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert re.fullmatch(r"[1-9]\d* histories replayed, 0 diverged", told)


def test_the_installed_suite_judges_somebody_elses_application(
    installed: Path, tmp_path: Path, elsewhere: dict[str, str]
) -> None:
    target = copied(tmp_path / "mine")
    chosen = ("--paths", "transfer/done", "--faults", "app:kill,outage:lost", "--store", "sqlite")
    done = run(tmp_path, elsewhere, installed / "conformance", "run", "--target", target, *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[1-9]\d* passed, 0 failed, 0 unknown$", done.stdout, re.M)
    (kept,) = (target.parent / ".run" / "conformance" / "runs").iterdir()
    assert {"junit.xml", "report.html"} <= {path.name for path in kept.iterdir()}


def test_the_installed_suite_is_a_plugin_of_pytest(
    installed: Path, tmp_path: Path, elsewhere: dict[str, str]
) -> None:
    target = copied(tmp_path / "mine")
    given = ("--conformance", target, "--conformance-store", "sqlite", "--collect-only", "-q")
    for named in ((), ("-p", "conformance.plugin")):
        done = run(tmp_path, elsewhere, installed / "pytest", *named, *given)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "transfer/done[app:kill]" in done.stdout


def test_without_binaries_and_go_the_installed_suite_says_what_to_do(
    installed: Path, tmp_path: Path
) -> None:
    target = copied(tmp_path / "mine")
    bare = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = run(
        tmp_path, bare, installed / "conformance", "check", "--target", target, "--store", "sqlite"
    )
    assert done.returncode == 2
    for way in ("install Go", "dapr init --slim", "CONFORMANCE_RUNTIME"):
        assert way in done.stderr
