"""The operations that providers carry out for us, and what undoes each, as `providers.toml` has it.

An operation is called by its name: `payment.charge` is `POST /payment/charge` at the provider
`payment`. Declared is enough to be called; the same file says how the simulated providers behave.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

PROVIDERS = Path(__file__).with_name("providers.toml")


def _declared() -> Iterator[tuple[str, str | None]]:
    operations = tomllib.loads(PROVIDERS.read_text())["operations"]
    for name, operation in operations.items():
        undo = operation.get("undo")
        yield name, undo
        if undo is not None and undo not in operations:
            yield undo, None


# By name; `None` where nothing undoes it.
OPERATIONS: Mapping[str, str | None] = dict(_declared())
