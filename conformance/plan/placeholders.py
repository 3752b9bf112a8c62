"""Placeholders in the strings of a target, and what takes their place.

In `[app]`: `{python}`, `{host}`, `{port}`, `{data}`, `{witness}`, `{sidecar_host}` and
`{sidecar_grpc_port}` (the gate), `{sidecar_http_host}` and `{sidecar_http_port}`, `{api_token}`,
`{webhook_secret}`, `{postgres}` (`user:password@host:port/database`) and `{secret:NAME}` (made up,
the same everywhere; in `[witness]` too). In requests: `{id}`, `{app}`, `{sidecar}`, `{witness}`,
`{api_token}`, `{witness_direct}` (as the application reaches it past every link that is cut) and
every name in `[values]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any

from conformance.plan.contract import Store, Target, TargetError

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*(?::[a-z0-9_]+)?)\}")


def fill(value: Any, values: Mapping[str, str]) -> Any:
    """Puts values in the place of placeholders, in every string of a structure.

    Raises:
        TargetError: a placeholder that has no value.
    """
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda match: _value(match[1], values), value)
    if isinstance(value, Mapping):
        return {fill(key, values): fill(each, values) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [fill(each, values) for each in value]
    return value


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise TargetError(
            f"there is no placeholder {{{name}}}; there are {', '.join(sorted(values))}"
        )
    return values[name]


def environment(
    target: Target, store: str, added: Mapping[str, str], values: Mapping[str, str]
) -> dict[str, str]:
    """The application's own variables, with every placeholder filled.

    Raises:
        TargetError: a placeholder that has no value.
    """
    declared = {**target.app.env, **target.app.stores.get(_store(store), {}), **added}
    filled: dict[str, str] = fill(declared, values)
    return filled


def make_secrets(target: Target) -> dict[str, str]:
    """A value for every `{secret:NAME}` that the target's environment or witness names."""
    declared = [target.app.env, *target.app.stores.values(), target.witness.secrets]
    texts = [text for variables in declared for text in variables.values()]
    names = {name for text in texts for name in PLACEHOLDER.findall(text)}
    return {name: token_urlsafe(32) for name in names if name.startswith("secret:")}


def _store(name: str) -> Store:
    if name not in ("sqlite", "postgres"):
        raise TargetError(f"there is no store {name}; there are sqlite and postgres")
    return "sqlite" if name == "sqlite" else "postgres"
