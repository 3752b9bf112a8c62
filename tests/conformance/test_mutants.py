"""The broken applications: each still fits ours, is a program, and says what is wrong with it."""

from __future__ import annotations

import fnmatch
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.mutants import FOLDER, Mutant, MutantError, apply, load, read
from conformance.plan.contract import load as load_target
from conformance.promises import checks

ROOT = Path(__file__).parents[2]
TARGET = load_target(ROOT / "target.toml")
MUTANTS = {mutant.name: mutant for mutant in load()}
BOUNDARIES = frozenset(
    ("start", "request", "response", "dispatch", "completion", "before", "after", "acknowledged")
)
GOOD = (FOLDER / "undo-in-order.patch").read_text("utf-8")


@pytest.fixture(params=MUTANTS)
def mutant(request: pytest.FixtureRequest) -> Mutant:
    return MUTANTS[request.param]


def break_(mutant: Mutant, into: Path) -> None:
    apply(mutant, ROOT, TARGET.app.source, into)


def changed(into: Path) -> set[str]:
    files = {str(file.relative_to(into)) for file in into.rglob("*") if file.is_file()}
    return {name for name in files if (ROOT / name).read_bytes() != (into / name).read_bytes()}


def test_there_is_a_mutant_for_every_promise() -> None:
    assert len(MUTANTS) >= 12
    assert {mutant.promise for mutant in MUTANTS.values()} == set(checks())


def test_it_fits_and_is_a_program(mutant: Mutant, tmp_path: Path) -> None:
    into = tmp_path / "broken"
    break_(mutant, into)
    named = {
        line.removeprefix("+++ b/")
        for line in mutant.patch.splitlines()
        if line.startswith("+++ b/")
    }
    assert changed(into) == named
    for name in named:
        compile((into / name).read_text("utf-8"), name, "exec")


def test_it_names_paths_and_points_of_our_target(mutant: Mutant) -> None:
    paths = {path.name for path in TARGET.paths()}
    assert set(mutant.paths) <= paths
    for point in mutant.points:
        assert fnmatch.filter(BOUNDARIES, point.rpartition(":")[2]), point


def test_it_is_broken_within_another_checkout_too(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    into = tmp_path / "run" / "broken"
    for _ in range(2):  # a folder that is there already is made anew
        break_(MUTANTS["undo-in-order"], into)
        assert changed(into) == {"workflows/steps.py"}


def test_what_fits_no_longer_is_said(tmp_path: Path) -> None:
    patch = GOOD.replace("for step in reversed(steps):", "for step in backwards(steps):")
    stale = replace(MUTANTS["undo-in-order"], patch=patch)
    with pytest.raises(MutantError, match=r"undo-in-order fits the application no longer: .*steps"):
        break_(stale, tmp_path / "broken")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MutantError, match="has no nowhere"):
        apply(MUTANTS["undo-in-order"], ROOT, ["workflows", "nowhere"], tmp_path / "broken")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("# promise: all_or_nothing\n", "", "lacks promise"),
        ("# promise: all_or_nothing", "# promise: none_at_all", "there is no promise none_at_all"),
        ("# faults: none", "# faults: app:tickle", "there is no fault app:tickle"),
        ("# faults: none", "# faults:", "lacks faults"),
        ("# summary:", "# sumary:", "not a line of a header: # sumary"),
        ("# faults: none", "# faults: none\n# faults: none", "not a line of a header"),
    ],
)
def test_a_header_that_makes_no_sense_is_said(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert old in GOOD
    file = tmp_path / "some.patch"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(MutantError, match=f"some.patch: .*{complaint}"):
        read(file)


def test_a_header_may_go_on_in_the_next_line(tmp_path: Path) -> None:
    file = tmp_path / "some.patch"
    file.write_text(GOOD.replace("# faults: none", "# faults: none\n#  app:kill"))
    assert read(file).faults == ("none", "app:kill")
