"""JSON pointers, with which a target says where in an answer something stands."""

from __future__ import annotations

import json
from typing import Any


def resolve(document: Any, path: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to; `None` where there is nothing.

    It also leads into a string that is JSON itself, as Dapr keeps outputs and custom states.
    """
    for part in path.split("/")[1:]:
        if isinstance(document, str):
            document = _parsed(document)
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        elif isinstance(document, dict):
            document = document.get(part)
        else:
            return None
    return document


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
