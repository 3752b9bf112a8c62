"""Schedules are drawn from a seed, run again from a file, and shrunk by leaving things out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from simulation import cli, files
from simulation.bulk import Choice, digest
from simulation.draw import compose, draw
from simulation.evidence import about
from simulation.judge import Judgement, judge
from simulation.schedule import Crash, Schedule
from simulation.shrink import shrink
from simulation.stories import STORIES
from simulation.strain import is_story
from simulation.world import simulate

QUICK = ("order-quick", "order-declined", "task", "task-full", "approval-automatic")


@pytest.mark.parametrize("name", [name for name in STORIES if name.startswith(("order", "task"))])
def test_a_story_that_nothing_disturbs_ends_as_it_says(name: str) -> None:
    schedule = compose(Random(f"alone/{name}"), [name], [])
    judgement = judge(schedule, simulate(schedule))
    assert judgement.kept, judgement


@pytest.mark.parametrize(
    "name", [name for name in STORIES if name.startswith(("approval", "document"))]
)
def test_what_waits_for_people_ends_as_it_says(name: str) -> None:
    schedule = compose(Random(f"alone/{name}"), [name], [])
    judgement = judge(schedule, simulate(schedule))
    assert judgement.kept, judgement


def test_the_same_number_is_the_same_schedule() -> None:
    choice = Choice(7)
    assert [choice.schedule(n) for n in range(50)] == [choice.schedule(n) for n in range(50)]
    assert choice.schedule(1) != choice.schedule(2)
    assert Choice(8).schedule(1) != choice.schedule(1)


def test_the_same_seed_gives_the_same_log_in_another_process() -> None:
    command = [sys.executable, "-m", "simulation", "run", "--seed", "5", "--count", "2"]
    command += ["--stories", *QUICK, "--disturbances", "crash", "misdelivery"]
    logs = [
        subprocess.run(
            [*command, "--jobs", jobs], capture_output=True, text=True, timeout=120, check=False
        ).stdout.splitlines()[-1]
        for jobs in ("1", "2")
    ]
    assert logs[0].startswith("log ")
    assert logs[0] == logs[1]


def test_a_saved_schedule_is_the_same_schedule(tmp_path: Path) -> None:
    for number in range(20):
        schedule = draw(Random(number))
        files.save(tmp_path / "one.json", schedule, Judgement())
        assert files.load(tmp_path / "one.json") == schedule


def test_a_replay_says_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = compose(Random("replayed"), ["task"], [])
    files.save(tmp_path / "one.json", schedule, Judgement())
    assert cli.main(["replay", str(tmp_path / "one.json")]) == 0
    assert f"log {digest(simulate(schedule))}" in capsys.readouterr().out


def test_what_is_no_schedule_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{}", "utf-8")
    assert cli.main(["replay", str(tmp_path / "none.json")]) == 2
    assert cli.main(["replay", str(tmp_path / "missing.json")]) == 2


def test_shrinking_leaves_out_all_that_does_not_matter() -> None:
    schedule = compose(Random("large"), ["order-days", "task", "approval-raced"], ["crash"] * 4)

    def fails(other: Schedule) -> bool:
        crashes = [one for one in other.disturbances if isinstance(one, Crash)]
        return len(crashes) >= 2 and any(about(call) == "task.1" for call in other.calls)

    smaller = shrink(schedule, fails)
    assert {about(call) for call in smaller.calls} == {"task.1"}
    assert len(smaller.disturbances) == 2
    assert not any(is_story(one) for one in smaller.disturbances)
    assert smaller.skews == ()
