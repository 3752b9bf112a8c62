"""Controls of monitors that were raised past the API: they count with a good signature only.

Whoever reaches the sidecar can raise anything. What is unsigned, forged or expired changes nothing,
is noted in the trail, and somebody is told: once until they have looked, however often it is tried.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.signatures import Signed, decoded
from store import audit_trail, interventions, monitor_controls, records
from workflows.health_monitor import Control, PlanRequest
from workflows.messages import WAKE_UP

MAX_RAISED = 4096  # bytes of an event that came past the API


class SignedControl(Signed):
    """A control that carries its own proof."""

    event_id: str = Field(min_length=1, max_length=100)
    action: str
    settings: dict[str, Any] | None = None
    by: str = Field(min_length=1, max_length=100)

    def content(self) -> list[Any]:
        """What is signed."""
        settings = json.dumps(self.settings, sort_keys=True, separators=(",", ":"))
        return [self.event_id, self.action, settings, self.by]

    def control(self) -> Control:
        """What it says.

        Raises:
            ValidationError: that makes no sense.
        """
        said = self.model_dump(include={"event_id", "action", "settings"}, exclude_none=True)
        return Control.model_validate(said)


async def admit(tx: AsyncConnection, key: str, request: PlanRequest) -> None:
    """Keeps what wake-up signals carried, where it is signed, and reports what is not."""
    for raised in request.raised:
        if raised in (None, {}, WAKE_UP):
            continue
        try:
            signed = _verified(key, request.instance, raised)
            await monitor_controls.keep(tx, request.instance, signed.control())
            await _note(tx, request.instance, signed.by, "accepted", signed.event_id)
        except (ValueError, records.Conflict) as error:
            await _refuse(tx, request.instance, _why(error))


def _verified(key: str, instance: str, raised: Any) -> SignedControl:
    text = raised if isinstance(raised, str) else json.dumps(raised, sort_keys=True)
    if len(text) > MAX_RAISED:
        raise ValueError(f"more than {MAX_RAISED} bytes")
    try:
        signed = SignedControl.model_validate(decoded(raised))
    except ValidationError as error:
        raise ValueError("it carries no signed control") from error
    if flaw := signed.flaw(key, instance):
        raise ValueError(flaw)
    return signed


async def _refuse(tx: AsyncConnection, instance: str, why: str) -> None:
    reason = f"a control event that was raised past the API was refused: {why}"
    key = f"{instance}/{monitor_controls.NAME}"
    if await interventions.ask_once(tx, instance, key, "forged", reason):
        await _note(tx, instance, "unknown", f"refused: {why}"[:100], None)


async def _note(
    tx: AsyncConnection, instance: str, who: str, verdict: str, event_id: str | None
) -> None:
    await audit_trail.write(
        tx,
        instance=instance,
        who=who,
        via="event",
        what=monitor_controls.NAME,
        verdict=verdict,
        event_id=event_id,
    )


def _why(error: Exception) -> str:
    # Only what is wrong, never the value.
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
