"""Runs of an instance: what the record tells one that begins, and whether it can be stopped."""

from __future__ import annotations

import re

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from store import attempts, inbox, interventions, records
from workflows.messages import RunPermit, Start

# One alert for all of them until somebody has looked: whoever can forge one start can forge many.
FORGED = "engine/forged-start"


async def begin(tx: AsyncConnection, start: Start) -> RunPermit:
    """Tells a run whether it may proceed, which way, and with which input.

    A run that is not the record's has no effect: nobody accepted it.
    """
    record = await records.get(tx, start.instance, lock=True)
    flaw = _flaw(record, start)
    if record is None or flaw is not None:
        if flaw:
            reason = f"the engine was made to run {start.kind} as {start.engine_id}: {flaw}"
            await interventions.ask_once(tx, "-", FORGED, "forged", reason)
        return RunPermit(proceed=False, reason=flaw or "run under another name since")
    if record["state"] == "ended":
        return RunPermit(proceed=False, reason="ended", outcome=record["outcome"])
    down = await records.cancelled(tx, record)
    cancelled = down and record["direction"] == "forward"
    version = record["version"] or start.version
    earlier = await attempts.tried(tx, start.instance)
    await records.progress(
        tx,
        start.instance,
        status="RUNNING",
        started_at=record["started_at"] or records.now(),
        version=version,
    )
    return RunPermit(
        proceed=True,
        input=record["input"],
        version=version,
        ordinals=earlier.ordinals if earlier.steps else {},
        tried=earlier.steps,
        undone=earlier.undone,
        direction="down" if down else "forward",
        reason="cancelled" if cancelled else record["reason"],
        refused=record["refused"],
    )


async def cancel(tx: AsyncConnection, id: str) -> bool:
    """Keeps the wish that an instance undoes everything; `False`, and nothing, where it cannot."""
    record = await records.get(tx, id, lock=True)
    if record is None or record["pivoted"] or record["state"] == "ended":
        return False
    await inbox.keep(tx, instance=id, event_id="cancel", name="cancel", type="cancel", data={})
    return True


def _flaw(record: RowMapping | None, start: Start) -> str | None:
    """What is wrong with a run; an empty word if it is one that was given up."""
    if record is None:
        return "nobody accepted it"
    if start.kind not in (None, record["kind"]):
        return f"it was accepted as {record['kind']}"
    if start.engine_id in (None, record["engine_id"]):
        return None
    given_up = _number(start.engine_id or "") < _number(record["engine_id"])
    return "" if given_up else "that is not its name"


def _number(engine_id: str) -> int:
    """How often the engine's name was burnt; more than ever for a name that we never give."""
    found = re.fullmatch(r"[^~]*(?:~([1-9]\d{0,6}))?", engine_id)
    return int(found[1] or 0) if found else 10**9
