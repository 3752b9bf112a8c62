"""What runs on GitHub: nothing that may change under us, nothing that may run for ever."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.settings import ROOT

FILES = (ROOT / "action.yml", *sorted((ROOT / ".github").rglob("*.yml")))
PINNED = re.compile(r"[\w/-]+@[0-9a-f]{40}")
EXAMPLE = ROOT / "examples" / "transfer"


def read(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return loaded


def steps(value: Any) -> Iterator[dict[str, Any]]:
    """Every step, however deep."""
    for each in value.values() if isinstance(value, dict) else ():
        if isinstance(each, list):
            yield from (step for step in each if isinstance(step, dict))
        yield from steps(each)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_action_is_pinned_by_its_commit(file: Path) -> None:
    used = [str(step["uses"]) for step in steps(read(file)) if "uses" in step]
    assert used
    assert [each for each in used if not PINNED.fullmatch(each) and not each.startswith("./")] == []


def test_the_workflow_may_only_read_and_every_job_has_a_limit() -> None:
    workflow = read(ROOT / ".github" / "workflows" / "ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 300 for job in workflow["jobs"].values())
    assert workflow["concurrency"]["group"]


def test_what_is_given_to_the_action_never_becomes_a_part_of_a_script() -> None:
    scripts = [step["run"] for step in steps(read(ROOT / "action.yml")) if "run" in step]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


def test_every_input_of_the_action_is_explained_and_used() -> None:
    text = (ROOT / "action.yml").read_text("utf-8")
    for name, given in read(ROOT / "action.yml")["inputs"].items():
        assert given["description"]
        assert f"inputs.{name}" in text


def filled(text: str, contexts: Mapping[str, str]) -> str:
    """An expression as GitHub would fill it in; these are names only."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: contexts[found[1]], text)


def test_the_action_judges_and_fails_as_the_command_does(
    installed: Path, tmp_path: Path, elsewhere: dict[str, str]
) -> None:
    action = read(ROOT / "action.yml")
    shutil.copytree(EXAMPLE, tmp_path / "mine", ignore=shutil.ignore_patterns(".run"))
    contexts = {
        **{f"inputs.{name}": str(each["default"]) for name, each in action["inputs"].items()},
        "inputs.target": "mine/target.toml",
        "inputs.faults": "outage:lost",
        "inputs.paths": "transfer/done",
        "inputs.runtime": elsewhere["CONFORMANCE_RUNTIME"],
        "runner.temp": str(tmp_path / "temp"),
    }
    (tmp_path / "temp").mkdir()
    (judge,) = (step for step in action["runs"]["steps"] if step.get("id") == "judge")
    environment = {
        **elsewhere,
        **{name: filled(text, contexts) for name, text in judge["env"].items()},
        "PATH": f"{installed}:{elsewhere['PATH']}",
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "BUGS": "undo",
    }
    # As GitHub runs what says `shell: bash`.
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", judge["run"]]
    done = subprocess.run(
        bash, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stdout + done.stderr
    outputs = dict(
        line.split("=", 1) for line in (tmp_path / "output").read_text("utf-8").splitlines()
    )
    assert outputs["exit-code"] == "1"
    (kept,) = Path(outputs["runs"]).iterdir()
    assert {"junit.xml", "report.html"} <= {path.name for path in kept.iterdir()}
    assert "1 failed" in (tmp_path / "summary.md").read_text("utf-8")
