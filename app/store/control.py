"""What an operator does to an instance, as it is noted in its record."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import attempts, interventions, records
from app.store.schema import records as table
from workflows.messages import Ending, Incident


async def suspend(tx: AsyncConnection, id: str, suspended: bool) -> None:
    """Notes that an instance is to rest, or to go on."""
    await tx.execute(
        update(table)
        .where(table.c.id == id, records.OPEN)
        .values(suspended=suspended, progress_at=records.now())
    )


async def end_terminated(tx: AsyncConnection, id: str, by: str) -> None:
    """Ends a terminated instance, and asks a person about the effects that it left standing."""
    record = await records.get(tx, id, lock=True)
    if record is None or record["state"] == "ended":
        return
    left = await attempts.standing(tx, id)
    await records.end(tx, Ending(instance=id, outcome="TERMINATED", reason=f"terminated by {by}"))
    incident = Incident(
        instance=id,
        key=f"{id}/terminate",
        n=1,
        kind="terminated",
        reason=("left standing: " + ", ".join(left) if left else "nothing was left standing")[:500],
        blocking=False,
    )
    await interventions.open_(tx, incident)


async def roll_back(tx: AsyncConnection, id: str, reason: str) -> bool:
    """Reopens an ended instance on its way down; `False` if it is not one that succeeded."""
    reopened = await tx.execute(
        update(table)
        .where(table.c.id == id, table.c.state == "ended", table.c.outcome == "READY")
        .values(
            state="accepted",
            status="ACCEPTED",
            direction="down",
            reason=reason,
            outcome=None,
            ended_at=None,
            purged=False,
            claimed_until=None,
            runs=table.c.runs + 1,
            woken_at=None,
            progress_at=records.now(),
        )
    )
    return reopened.rowcount == 1
