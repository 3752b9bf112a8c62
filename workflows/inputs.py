"""What workflows are started with: one model each, with which the API validates.

What comes in is held to exact types and bounds, and no field is accepted that we do not know. What
was accepted once stays readable (`accepted`), whatever this release would say of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import SchemaValidator

from workflows.messages import RetryRule

BOUNDS = frozenset({"ge", "gt", "le", "lt", "pattern", "min_length", "max_length", "strict"})

HOUR = 3_600
DAY = 86_400

# The engine accepts no / \ # ? in an id, and one with || breaks its listing.
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,79}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]


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
Amount = Annotated[int, Field(ge=0, le=10**12), WHOLE]  # of money, in minor units of a currency
Timeout = Annotated[float, Field(gt=0, le=365 * DAY, allow_inf_nan=False, strict=False)]


class Exact(BaseModel):
    """Base of what comes from outside: exact types, and no field that we do not know."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def accepted(cls, content: Mapping[str, Any]) -> Self:
        """Reads what was accepted, by this release or by another: by its types alone.

        Bounds were looked at when it was accepted. Another release has others, and an instance that
        could not be read any more would be stuck with what it has done.

        Raises:
            ValidationError: it cannot be read.
        """
        read: Self = _reader(cls).validate_python(content, strict=False, extra="ignore")
        return read


@cache
def _reader(model: type[BaseModel]) -> SchemaValidator:
    # Else it takes the validators that the models have, bounds and all.
    return SchemaValidator(_unbound(model.__pydantic_core_schema__), _use_prebuilt=False)


def _unbound(schema: Any) -> Any:
    """A schema of pydantic without bounds, and without what is asked of a value that is there."""
    if isinstance(schema, list):
        return [_unbound(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "function-after":
        return _unbound(schema["schema"])
    return {
        key: {name: _unbound(field) for name, field in inner.items()}
        if key == "fields"
        else _unbound(inner)
        for key, inner in schema.items()
        if key not in BOUNDS
    }


class Retry(RetryRule):
    """How patiently faults of providers are retried. Durations are seconds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    attempts: Whole = Field(default=10, ge=1, le=20)


class Input(Exact):
    """What every start may carry.

    `FORMER` are the defaults of earlier releases that are others now, by field (`None`: there was
    no such field), one mapping a release: what was accepted by one of them may be sent again.
    """

    FORMER: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    id: Id | None = None
    retry: Retry = Retry()
