"""What the endpoints share: the application's parts, and the shapes of ids and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from app.engine import Engine
from app.relay import Relay
from app.settings import Settings
from app.sidecar import Watcher
from store import Store


@dataclass(frozen=True)
class Parts:
    """The parts of a running application that endpoints use."""

    settings: Settings
    store: Store
    relay: Relay
    engine: Engine
    watcher: Watcher


def parts(request: Request) -> Parts:
    """The parts of the application that serves this request."""
    found: Parts = request.app.state.parts
    return found


PartsOf = Annotated[Parts, Depends(parts)]

# The engine accepts no / \ # ? in an id, and one with || breaks its listing.
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,79}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
PathId = Annotated[str, Path(pattern=ID_PATTERN)]


def _clean(text: str) -> str:
    # Postgres stores no NUL, and half a surrogate pair cannot be encoded at all.
    if any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in text):
        raise ValueError("control characters are not accepted")
    return text


def _whole(value: object) -> object:
    # To JSON Schema, and so to those who read our description, 5.0 is an integer.
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Whole = Annotated[int, WHOLE]

# The same for those who read the description.
CLEAN = Field(json_schema_extra={"pattern": "^[^\\x00-\\x1f]*$"})
Clean = Annotated[str, AfterValidator(_clean), CLEAN]
Word = Annotated[Clean, StringConstraints(min_length=1, max_length=100)]
Phrase = Annotated[Clean, StringConstraints(min_length=1, max_length=200)]
Note = Annotated[Clean, StringConstraints(min_length=1, max_length=2000)]


class Request_(BaseModel):
    """Base of request bodies: exact types, and no field that we do not know."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
