"""Broken applications: what has shown each of them shows it still, and shows nothing of ours.

Here only what was found runs again. Where a change of ours moves the moment that it depends on, it
has to be looked for anew: `python -m simulation mutants --keep NAME`.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.promises import checks
from simulation import mutation
from simulation.draw import DISTURBANCES
from simulation.mutation import FOLDER, Mutant, MutantError, load, read, replay_mutant
from simulation.promises import OWN
from simulation.stories import STORIES

MUTANTS = {mutant.name: mutant for mutant in load()}
HARMLESS = """\
diff --git a/app/__init__.py b/app/__init__.py
--- a/app/__init__.py
+++ b/app/__init__.py
@@ -1 +1,2 @@
 {line}
+# nothing is wrong
"""


@pytest.fixture(params=MUTANTS)
def mutant(request: pytest.FixtureRequest) -> Mutant:
    return MUTANTS[request.param]


def test_there_are_more_than_ten_and_something_was_found_for_each() -> None:
    assert len(MUTANTS) > 10
    assert {one.stem for one in FOLDER.glob("*.json")} == MUTANTS.keys()


def test_it_says_why_it_was_chosen_and_is_looked_for_with_what_there_is(mutant: Mutant) -> None:
    assert mutant.why
    assert mutant.promises <= checks().keys() | OWN.keys()
    assert set(mutant.stories) <= STORIES.keys()
    assert set(mutant.disturbances) <= DISTURBANCES.keys()
    assert mutant.count <= 400


def test_what_was_found_breaks_it_and_not_the_application(mutant: Mutant) -> None:
    caught = replay_mutant(mutant)
    assert caught.caught, caught


def test_an_application_that_is_well_is_not_caught() -> None:
    line = (mutation.ROOT / "app" / "__init__.py").read_text("utf-8").rstrip("\n")
    well = replace(MUTANTS["payment-for-a-day"], patch=HARMLESS.format(line=line))
    caught = replay_mutant(well)
    assert not caught.caught
    assert "exit status 0" in caught.text


def test_a_mutant_that_breaks_another_promise_is_not_caught() -> None:
    other = replace(MUTANTS["payment-for-a-day"], promises=frozenset({"one_alert"}))
    caught = replay_mutant(other)
    assert not caught.caught
    assert "alone" in caught.text


def test_a_patch_that_fits_no_longer_is_said(tmp_path: Path) -> None:
    file = tmp_path / "stale.patch"
    shutil.copyfile(FOLDER / "payment-for-a-day.patch", file)
    file.write_text(file.read_text("utf-8").replace("-        within=", "-        whithin="))
    with pytest.raises(MutantError, match="fits the application no longer"):
        replay_mutant(replace(read(file), name="payment-for-a-day"))
