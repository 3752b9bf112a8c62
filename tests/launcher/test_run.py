"""``python -m launcher run`` with the real application, as a person uses it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import Settings
from launcher.net import wait_until
from launcher.settings import ROOT

LAUNCHER = (sys.executable, "-m", "launcher")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    settings = Settings.ephemeral(tmp_path)
    ports = {f"STEADFAST_{name.upper()}": str(port) for name, port in settings.ports().items()}
    return {**os.environ, **ports, "STEADFAST_RUN_DIR": str(tmp_path)}


@pytest.fixture
def running(env: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [*LAUNCHER, "run"], cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT
        )

    def unmet() -> str | None:
        assert process.poll() is None, output(tmp_path)
        return None if "Ctrl-C" in output(tmp_path) else "the banner"

    try:
        wait_until(unmet, 60)
        yield process
    finally:
        process.kill()
        process.wait(10)


def output(run_dir: Path) -> str:
    return (run_dir / "out").read_text()


def launcher(env: dict[str, str], command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*LAUNCHER, command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )


def test_what_is_printed_works_when_it_is_pasted(
    running: subprocess.Popen[bytes], env: dict[str, str], tmp_path: Path
) -> None:
    app = json.loads((tmp_path / "state.json").read_bytes())["app"]["pid"]
    script = "\n".join(
        re.findall(r"^(?:TOKEN=|(?:curl|  -[Hd]|until|kill) ).*$", output(tmp_path), re.M)
    )
    done = subprocess.run(
        ["bash", "-e"], input=script, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"status":"ENDED","outcome":"FULFILLED"') == 2
    assert json.loads((tmp_path / "state.json").read_bytes())["app"]["pid"] != app

    second = launcher(env, "run")
    assert second.returncode == 1
    assert f"error: already running: pid {running.pid}, http://127.0.0.1:" in second.stderr
    assert launcher(env, "status").returncode == 0

    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0
    assert not (tmp_path / "state.json").exists()
    assert launcher(env, "status").returncode == 1
