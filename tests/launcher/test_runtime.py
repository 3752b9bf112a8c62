"""Which binaries are chosen, and that a build is all or nothing. Go is played by a script."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launcher import LauncherError, runtime
from launcher.runtime import CORE, TOOLS, find_or_build

VERSION = TOOLS["daprd"].version


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def dapr(folder: Path, version: str) -> Path:
    for name in CORE:
        program(folder / name, f"echo {version}")
    return folder


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it; its programs go to bin/."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(runtime, "BUILT", tmp_path / "built")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def go(machine: Path) -> Callable[[str], Path]:
    """A Go that writes its arguments to the target, and then does as it is told."""

    def install(then: str = "") -> Path:
        log = machine / "go.log"
        find_target = 'for a in "$@"; do [ "$last" = -o ] && target=$a; last=$a; done'
        build = f'{find_target}\necho "$last" >> {log}\necho "$@" > $target\n{then}'
        program(machine / "bin" / "go", f"PATH={os.defpath}\n{build}")
        return log

    return install


def test_without_dapr_and_go_both_ways_out_are_named() -> None:
    with pytest.raises(LauncherError) as caught:
        find_or_build()
    assert "install Go" in str(caught.value)
    assert f"dapr init --slim --runtime-version {VERSION}" in str(caught.value)


def test_what_is_missing_is_built_once(go: Callable[[], Path], machine: Path) -> None:
    log = go()
    paths = find_or_build()
    assert paths == {name: machine / "built" / name for name in CORE}
    assert find_or_build() == paths
    assert log.read_text().split() == [TOOLS[name].package for name in CORE]
    assert f"buildinfo.version={VERSION} -tags=stablecomponents" in paths["daprd"].read_text()


def test_a_changed_pin_is_built_again(
    go: Callable[[], Path], machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = go()
    find_or_build(["toxiproxy"])
    pins = machine / "pins"
    pins.mkdir()
    (pins / "go.mod").write_text("require github.com/Shopify/toxiproxy/v2 v2.99.0\n")
    changed = replace(TOOLS["toxiproxy"], folder=pins)
    monkeypatch.setitem(TOOLS, "toxiproxy", changed)
    assert "v2.Version=2.99.0" in find_or_build(["toxiproxy"])["toxiproxy"].read_text()
    assert len(log.read_text().split()) == 2


def test_a_failed_build_leaves_nothing_and_shows_why(
    go: Callable[[str], Path], machine: Path
) -> None:
    go("echo no space left; exit 1")
    with pytest.raises(LauncherError, match=r"(?s)building daprd failed; .*no space left"):
        find_or_build()
    assert {path.name for path in (machine / "built").iterdir()} == {"lock", "build.log"}


def test_an_interrupted_build_leaves_nothing(
    go: Callable[[str], Path], machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go("exec sleep 60")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runtime, "_watch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        find_or_build()
    assert {path.name for path in (machine / "built").iterdir()} == {"lock", "build.log"}


def test_what_a_killed_builder_left_is_removed(go: Callable[[], Path], machine: Path) -> None:
    go()
    (machine / "built" / ".draft-old").mkdir(parents=True)
    find_or_build()
    assert not list((machine / "built").glob(".draft-*"))


def test_a_folder_that_is_named_comes_first(go: Callable[[], Path], machine: Path) -> None:
    go()
    find_or_build()
    mine = dapr(machine / "mine", "9.9.9")
    assert find_or_build(CORE, mine) == {name: mine / name for name in CORE}


def test_a_folder_that_is_named_may_have_the_other_tools(
    go: Callable[[], Path], machine: Path
) -> None:
    go()
    mine = dapr(machine / "mine", "9.9.9")
    assert find_or_build([*CORE, "toxiproxy"], mine)["toxiproxy"] == machine / "built" / "toxiproxy"
    program(mine / "toxiproxy", "echo 2")
    assert find_or_build([*CORE, "toxiproxy"], mine)["toxiproxy"] == mine / "toxiproxy"


def test_a_folder_that_is_named_must_have_them_all(machine: Path) -> None:
    mine = dapr(machine / "mine", VERSION)
    (mine / "scheduler").unlink()
    with pytest.raises(LauncherError, match=r"named for Dapr, .*/mine, has no scheduler"):
        find_or_build(CORE, mine)


@pytest.mark.parametrize("folder", ["home/.dapr/bin", "bin"])
def test_an_installed_dapr_of_the_pinned_version_is_used(
    machine: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    installed = dapr(machine / folder, VERSION)
    assert find_or_build() == {name: installed / name for name in CORE}
    assert caplog.messages == [f"using Dapr {VERSION}, installed in {installed}"]


def test_an_installed_dapr_of_another_version_is_passed_over(
    go: Callable[[], Path], machine: Path
) -> None:
    go()
    dapr(machine / "home" / ".dapr" / "bin", "1.2.3")
    assert find_or_build()["daprd"] == machine / "built" / "daprd"
