"""A schedule as a file: what failed, and everything that is needed to run it again."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from simulation.judge import Judgement
from simulation.schedule import Schedule

FOLDER = Path(".run/simulation")


class FileError(ValueError):
    """A file that is no schedule; the message says where and why."""


def save(file: Path, schedule: Schedule, judgement: Judgement) -> None:
    """Writes a schedule, and what was wrong with it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    said = [str(broken) for broken in judgement.broken] or list(judgement.unknown)
    dumped = schedule.model_dump(mode="json", exclude_defaults=True)
    # The kind of a disturbance is a default, and tells which it is.
    for row, one in zip(dumped.get("disturbances", []), schedule.disturbances, strict=True):
        row["kind"] = one.kind
    content = {"said": said, "schedule": dumped}
    file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def load(file: Path) -> Schedule:
    """Reads a schedule.

    Raises:
        FileError: the file cannot be read, or is no schedule.
    """
    try:
        return Schedule.model_validate(json.loads(file.read_text("utf-8"))["schedule"])
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise FileError(f"{file}: {where}: {error.errors()[0]['msg']}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{file}: no schedule: {error}") from error
