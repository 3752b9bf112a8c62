"""The pytest plugin, as a gate in somebody's CI: one item for every path and fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.faults import everything
from launcher.settings import ROOT
from tests.conformance.kit import LIMIT, copied

TESTS = "def test_of_the_folder() -> None: pass\n"
INI = "[pytest]\ntestpaths = tests\n"
PATHS = ["transfer/done", "transfer/exhausted", "fickle/done"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conformance.plugin", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a target and with tests of its own."""
    copied(tmp_path / "project")
    (tmp_path / "project" / "pytest.ini").write_text(INI)
    (tmp_path / "project" / "tests").mkdir()
    (tmp_path / "project" / "tests" / "test_own.py").write_text(TESTS)
    return tmp_path / "project"


def collected(project: Path, *arguments: str) -> list[str]:
    done = run(project, "--collect-only", "-q", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]


def test_a_target_that_is_named_alone_is_collected_alone(project: Path) -> None:
    named = ("--conformance", "target.toml", "--conformance-faults", "app:kill,outage:lost")
    names = collected(project, *named)
    assert len(names) == 12
    assert names[:2] == ["transfer/done[app:kill]", "transfer/poor[app:kill]"]
    assert names[-1] == "transfer/half_confirmed[witness:lost]"
    assert collected(project, *named, "target.toml") == names, "not twice"
    assert collected(project, *named, "-k", "poor and lost") == ["transfer/poor[witness:lost]"]


def test_a_target_is_collected_besides_what_is_named(project: Path) -> None:
    named = ("--conformance", "target.toml", "--conformance-faults", "app:kill")
    assert len(collected(project, *named, "tests")) == 7
    assert collected(project) == ["test_of_the_folder"]
    assert len(collected(project, "--conformance", "target.toml")) == 6 * len(everything())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--conformance nothing.toml", "nothing.toml"),
        ("--conformance target.toml --conformance-faults app:tickle", "no fault app:tickle"),
        ("--conformance pytest.ini", "pytest.ini: Invalid value"),
    ],
)
def test_what_cannot_be_judged_is_said(project: Path, arguments: str, complaint: str) -> None:
    done = run(project, *arguments.split())
    assert done.returncode not in (0, 5)
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_pass_a_failure_an_unknown_and_a_skip(tmp_path: Path) -> None:
    file = copied(tmp_path / "target", bugs="key", fickle=True)
    chosen = " or ".join(f"{path}[" for path in (*PATHS, "fickle/same"))
    options = ("--conformance-store", "sqlite", "--conformance-work", str(tmp_path / "work"))
    faults = ("--conformance-faults", "outage:lost,store:kill")
    done = run(tmp_path, "--conformance", str(file), *faults, *options, "-rA", "-v", "-k", chosen)
    out = done.stdout
    assert done.returncode == 1, out + done.stderr
    for path, word in zip(PATHS, ("FAILED", "PASSED", "FAILED"), strict=True):
        assert f"{path}[witness:lost] {word}" in out
    assert "at_most_once: " in out
    assert "unknown: fickle/done@effect:bank_b.credit:1:before!witness:lost" in out
    assert "the witness's rule fired 0 times" in out
    repeat = f"python -m conformance run --target {file} --cluster processes --store sqlite --only"
    assert f"{repeat} 'transfer/done@effect:bank_b.credit:1:before!witness:lost'" in out
    assert "Traceback" not in out
    assert "fickle/same has no point of its own for witness:lost" in out
    assert "with sqlite there is no such process: store:kill" in out
    assert "2 failed, 1 passed, 5 skipped, 8 deselected" in out
    (folder,) = (tmp_path / "work" / "runs").iterdir()
    assert (folder / "report.html").exists()


def test_what_does_not_start_fails_every_item(tmp_path: Path) -> None:
    broken = 'command = ["{python}", "-c", "raise SystemExit(\'no such bank\')"]'
    file = copied(tmp_path / "target", ('command = ["{python}", "app.py"]', broken))
    options = ("--conformance-store", "sqlite", "--conformance-work", str(tmp_path / "work"))
    done = run(tmp_path, "--conformance", str(file), "--conformance-faults", "none", *options)
    assert "6 failed" in done.stdout
    assert "no such bank" in done.stdout
    assert "Traceback" not in done.stdout
