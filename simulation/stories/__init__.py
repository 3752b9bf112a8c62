"""What people and providers do with one instance, at real durations: stories of all workflows.

A story is a start, and whatever clients and people send afterwards, hours and days later, with
every duration as it is by default. An instance's id is `<story>.<n>`, so that the id alone says how
it has to end: a schedule that lacks half of its disturbances still knows. The calls and scripts
that name an instance belong together; they stay or go together when a schedule is shrunk.
"""

from __future__ import annotations

from collections.abc import Mapping

from simulation.stories import approvals, deployments, documents, monitors, orders, tasks
from simulation.stories.plot import Plot, Story

__all__ = ["STORIES", "Plot", "Story", "story_of"]

STORIES: Mapping[str, Story] = {
    **orders.STORIES,
    **tasks.STORIES,
    **deployments.STORIES,
    **approvals.STORIES,
    **documents.STORIES,
    **monitors.STORIES,
}


def story_of(id: str) -> Story:
    """The story of an instance, by its id.

    Raises:
        KeyError: no story is called so.
    """
    return STORIES[id.partition(".")[0]]
