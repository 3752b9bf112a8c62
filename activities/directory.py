"""The directory of people and tasks: records, capacities, the dashboard."""

from activities.effect import Body, effect


class TaskRecord(Body):
    """A task as it is put on record."""

    title: str
    assignee: str


class Capacity(Body):
    """An assignee's time, in minutes."""

    assignee: str
    effort: int


class Tile(Body):
    """What the dashboard shows of a task."""

    state: str


class Undo(Body):
    """Takes back whatever was done under the key that it names."""


create_record = effect("directory.create_record", TaskRecord)
delete_record = effect("directory.delete_record", Undo)
reserve_capacity = effect("directory.reserve_capacity", Capacity)
release_capacity = effect("directory.release_capacity", Undo)
update_dashboard = effect("directory.update_dashboard", Tile)
