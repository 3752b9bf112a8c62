"""Reading a request for an operation: whatever is malformed stops here."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn

from downstream.config import Operation, Providers
from downstream.paths import complaint
from downstream.problems import Problem

MAX_BODY = 256 * 1024
_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True)
class Ask:
    """One well-formed request. `undoes` is the key of the effect to undo; `None` for a do."""

    method: ClassVar[Literal["POST"]] = "POST"
    operation: str
    key: str
    instance: str
    reference: str
    undoes: str | None
    body: dict[str, Any]
    fingerprint: str

    @property
    def detail(self) -> dict[str, Any]:
        """The operation's own fields, without those that every request has."""
        common = ("instance", "reference", "undoes")
        return {name: value for name, value in self.body.items() if name not in common}


@dataclass(frozen=True)
class Inquiry:
    """A look-up or a listing; instance and key are those of what is looked up, once it is known."""

    method: ClassVar[Literal["GET"]] = "GET"
    operation: str
    instance: str | None = None
    key: str | None = None


def find_operation(providers: Providers, name: str) -> Operation:
    """The declaration of the operation that a path names.

    Raises:
        Problem: 404, there is none.
    """
    declared = providers.find(name)
    if declared is None:
        raise Problem(404, "unknown-operation", f"there is no operation {name}")
    return declared


def read_key(values: Sequence[str]) -> str:
    """The key, from all `Idempotency-Key` headers of a request.

    Raises:
        Problem: 400, there is not exactly one of 1 to 255 visible ASCII characters.
    """
    if len(values) != 1 or not _KEY.fullmatch(values[0]):
        detail = "exactly one Idempotency-Key of 1 to 255 visible ASCII characters is needed"
        raise Problem(400, "malformed", detail)
    return values[0]


def read_body(raw: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        Problem: 400, it is not JSON that every other program would read alike; 413, too long.
    """
    if len(raw) > MAX_BODY:
        raise Problem(413, "malformed", f"the body is longer than {MAX_BODY} bytes")
    try:
        body = json.loads(raw.decode(), parse_constant=_refuse_constant)
        # What Python reads but cannot write again: 1e999, half of a surrogate pair.
        _canonical(body)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Problem(400, "malformed", "the body is not a JSON object")
    return body


def read_ask(
    operation: str, declared: Operation, *, is_undo: bool, key: str, body: dict[str, Any]
) -> Ask:
    """The request, once it has all that its operation requires.

    The fields of an operation that is its own undo are those of the do; an undo may leave them out.

    Raises:
        Problem: 422, a field is missing or of the wrong type.
    """
    common = ("instance", "reference", "undoes") if is_undo else ("instance", "reference")
    self_undo = is_undo and declared.undo == operation
    wrong = complaint(body, dict.fromkeys(common, "string")) or complaint(
        body, declared.fields, required=not self_undo
    )
    if wrong is None:
        wrong = next((f"{name} is too long" for name in common if len(body[name]) > 255), None)
    if wrong is None and self_undo and body["undoes"] == key:
        wrong = "undoes is the key of the request itself"
    if wrong:
        raise Problem(422, "invalid", wrong)
    return Ask(
        operation=operation,
        key=key,
        instance=body["instance"],
        reference=body["reference"],
        undoes=body["undoes"] if is_undo else None,
        body=body,
        fingerprint=hashlib.sha256(_canonical(body)).hexdigest(),
    )


def _canonical(body: Any) -> bytes:
    text = json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
