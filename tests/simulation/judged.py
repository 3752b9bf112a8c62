"""Stories that are drawn to the second, run with every default and judged."""

from __future__ import annotations

from random import Random
from typing import Any

from simulation.clock import EPOCH
from simulation.evidence import moment
from simulation.judge import judge
from simulation.result import Result
from simulation.schedule import Disturbance, Schedule
from simulation.stories.plot import Plot
from simulation.world import simulate

SOON = 2.0  # seconds that a timer of the engine and the step after it may take


def plot(story: str, path: str, body: dict[str, Any], **who: Any) -> Plot:
    """An instance of a story, which tells the judge how it has to end; started after a second."""
    drawn = Plot(f"{story}.0", 1.0, Random(story))
    drawn.start(path, body, **who)
    return drawn


def judged(*plots: Plot, disturbances: tuple[Disturbance, ...] = (), **options: Any) -> Result:
    """What came of it; every promise was kept, and every disturbance has fired."""
    drawn = [script for one in plots for script in one.scripts]
    schedule = Schedule(
        calls=tuple(call for one in plots for call in one.calls),
        disturbances=(*drawn, *disturbances),
        **options,
    )
    result = simulate(schedule)
    judgement = judge(schedule, result)
    assert judgement.kept, judgement
    assert not judgement.unfired, "it proves nothing"
    assert all(fired for one, fired in zip(schedule.disturbances, result.fired, strict=True))
    return result


def answer(result: Result, plots: Plot, call: int) -> int:
    """The status that a call of the only plot was answered with."""
    return result.answers[range(len(plots.calls))[call]].status


def effects(result: Result) -> list[str]:
    """The operations in the providers' ledger, in order."""
    return [one["operation"] for one in result.effects]


def notifications(result: Result) -> list[str]:
    """The templates of the notifications in the ledger, in order."""
    return [one["detail"]["template"] for one in result.effects if "template" in one["detail"]]


def made_at(result: Result, key: str) -> float:
    """When the only effect of a key was made, in seconds since the simulation began."""
    (effect,) = [one for one in result.effects if one["key"] == key]
    return moment(effect["at"]) - EPOCH
