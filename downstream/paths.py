"""Paths into a JSON body: `payment_method`, `ship_to.country`, `lines[].sku` (every element)."""

import re
from collections.abc import Iterator
from typing import Any, Literal

Scalar = str | int | bool
FieldType = Literal["string", "integer", "positive", "boolean", "object", "list"]

MISSING = object()
_PATH = re.compile(r"\w+(\[\])?(\.\w+(\[\])?)*")
_PHRASES: dict[FieldType, str] = {
    "string": "a non-empty string",
    "integer": "an integer",
    "positive": "an integer above zero",
    "boolean": "true or false",
    "object": "an object",
    "list": "a list",
}
_TYPES: dict[FieldType, type] = {
    "string": str,
    "integer": int,
    "positive": int,
    "boolean": bool,
    "object": dict,
    "list": list,
}


def check_path(path: str) -> None:
    """Refuses what is not a path.

    Raises:
        ValueError: it is not one.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(f"{path!r} is not a path like ship_to.country or lines[].sku")


def find(body: Any, path: str) -> Iterator[Any]:
    """Yields every value at the path, `MISSING` for each one that is not there."""
    head, _, rest = path.partition(".")
    name = head.removesuffix("[]")
    value = body.get(name, MISSING) if isinstance(body, dict) else MISSING
    elements = value if isinstance(value, list) and value else [MISSING]
    for each in [value] if name == head else elements:
        if rest and each is not MISSING:
            yield from find(each, rest)
        else:
            yield each


def matches(body: dict[str, Any], conditions: dict[str, Scalar]) -> bool:
    """Whether, for every condition, any value at its path equals the wanted one."""
    return all(
        # Types are compared too: to Python, 1 and true are equal.
        any(type(value) is type(wanted) and value == wanted for value in find(body, path))
        for path, wanted in conditions.items()
    )


def complaint(
    body: dict[str, Any], fields: dict[str, FieldType], *, required: bool = True
) -> str | None:
    """What is wrong with the first field that is missing or of the wrong type, if any is.

    Fields that are not `required` may be missing.
    """
    for path, kind in fields.items():
        for value in find(body, path):
            if value is MISSING:
                if required:
                    return f"{path} is missing"
                continue
            wrong_type = type(value) is not _TYPES[kind]
            if (
                wrong_type
                or (kind == "positive" and value <= 0)
                or (kind == "string" and not value)
            ):
                return f"{path} is not {_PHRASES[kind]}"
    return None
