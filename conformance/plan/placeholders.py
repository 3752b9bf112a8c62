"""Placeholders in the strings of a target, and what takes their place.

In `[app]`: `{python}`, `{host}`, `{port}`, `{data}`, `{witness}`, `{sidecar_host}` and
`{sidecar_grpc_port}` (the gate), `{sidecar_http_host}` and `{sidecar_http_port}`, `{api_token}`,
`{webhook_secret}`, `{secret:NAME}` (made up, the same everywhere; in `[witness]` too),
`{link:NAME}` (`host:port` of the application's link to that process), and the name of the database
where that is a server: `{postgres}` is `user:password@host:port/database`. In requests:
`{id}`, `{app}`, `{sidecar}`, `{witness}`, `{api_token}`, `{witness_direct}` (as the application
reaches it past every link that is cut) and every name in `[values]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any

from conformance.plan.contract import Target, TargetError

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
    target: Target, database: str, added: Mapping[str, str], values: Mapping[str, str]
) -> dict[str, str]:
    """The application's own variables, with every placeholder filled.

    Raises:
        TargetError: a placeholder that has no value, or a database that is not declared.
    """
    known = target.app.databases
    if known and database not in known:
        raise TargetError(
            f"[app.databases] has nothing for {database}: choose --database {' or '.join(known)}"
        )
    declared = {**target.app.env, **known.get(database, {}), **added}
    filled: dict[str, str] = fill(declared, values)
    return filled


def make_secrets(target: Target) -> dict[str, str]:
    """A value for every `{secret:NAME}` that the target's environment or witness names."""
    declared = [target.app.env, *target.app.databases.values(), target.witness.secrets]
    texts = [text for variables in declared for text in variables.values()]
    names = {name for text in texts for name in PLACEHOLDER.findall(text)}
    return {name: token_urlsafe(32) for name in names if name.startswith("secret:")}
