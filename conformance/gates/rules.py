"""Rules: what is to be done with the messages at one point of one instance."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Action = Literal["hold", "duplicate", "drop", "delay", "reset"]
Handling = Literal["pass", "drop"]
POINT = re.compile(
    r"start:(request|response)|event:[1-9]\d*:(request|response)"
    r"|turn:[1-9]\d*:(dispatch|completion)|activity:.+:[1-9]\d*:(dispatch|completion)"
    r"|end:acknowledged"
)
END = "end:acknowledged"


class InFlightPolicy(BaseModel):
    """What is to be done with the messages that are held, by their kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dispatch: Handling = "pass"
    completion: Handling = "pass"
    request: Handling = "pass"


class NewRule(BaseModel):
    """A rule as it is posted; `seconds` is how long a `delay` lasts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: Annotated[str, Field(min_length=1)]
    point: str
    action: Action
    seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not POINT.fullmatch(self.point):
            raise ValueError(f"{self.point} is not a point")
        if (self.action == "delay") != (self.seconds is not None):
            raise ValueError("seconds belong to a delay, and a delay needs them")
        if self.point == END and self.action != "hold":
            raise ValueError(f"nothing crosses {END}: it can only be held")
        if self.action == "duplicate" and self.point.endswith(":response"):
            raise ValueError("an answer cannot come twice")
        return self


@dataclass(slots=True, eq=False)
class Rule:
    """A posted rule and what came of it; `at` is when it fired first, seconds since the epoch.

    A `hold` is for every message until it is `over`, all others for one.
    """

    spec: NewRule
    fired: int = 0
    at: float | None = None
    over: bool = False

    @property
    def seconds(self) -> float:
        """How long a delay lasts."""
        return self.spec.seconds or 0

    def applies(self) -> bool:
        """Whether the next message at its point meets it."""
        return not self.over

    def fire(self) -> None:
        """Counts a message that met it."""
        self.fired += 1
        self.at = self.at or time.time()
        self.over = self.spec.action != "hold"

    def view(self) -> dict[str, Any]:
        """The rule as `GET /rules` shows it."""
        return {**self.spec.model_dump(exclude_none=True), "fired": self.fired, "at": self.at}
