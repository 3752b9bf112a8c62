"""What Schemathesis checks besides its own; it loads this by its name."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance


@schemathesis.check
def valid_is_accepted(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> bool | None:
    """Its own check, except that no schema can say which ids were used before."""
    if response.status_code == 422 and response.json()["type"].endswith("/conflict"):
        return None
    return positive_data_acceptance(ctx, response, case)
