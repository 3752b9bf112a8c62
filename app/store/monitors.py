"""What is known of a monitored service: its round, its failures in a row, and its incidents.

One row a monitor, one row an incident. Everything is compared and changed under the record's lock,
so that of two runs of the same round one finds and the other is told.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import controls, insert_once, records
from app.store.schema import attempts, incidents, monitors
from app.store.schema import records as record_table
from workflows.health_monitor import Alert, Checks, Finding, Look, Round

MOST = 10  # alerts that are sent in one round; the others are due in the next
SHOWN = 1  # incidents before the newest whose attempts are kept for the timeline


async def plan(tx: AsyncConnection, look: Look) -> Round:
    """Drains the controls; what is left to do in this round, or in the newest one that is known."""
    record = await records.get(tx, look.instance, lock=True)
    if record is None or record["state"] == "ended":
        return _nothing(look.instance, look.generation)
    state = dict(await _known(tx, look.instance))
    await controls.admit(tx, look)
    state |= await _set(tx, look.instance, **await controls.drain(tx, look.instance, state))
    return await _round(tx, record, state, look.generation, told=look.told)


async def compare(tx: AsyncConnection, finding: Finding) -> Round:
    """Compares a finding with the round before; the first finding of a round is the one."""
    id, generation = finding.instance, finding.generation
    record = await records.get(tx, id, lock=True)
    if record is None or record["state"] == "ended":
        return _nothing(id, generation)
    state = dict(await _known(tx, id))
    if state["generation"] < generation:
        failures = 0 if finding.health.healthy else state["failures"] + 1
        incident = await _follow(tx, record, state, finding, failures)
        state |= await _set(
            tx,
            id,
            generation=generation,
            failures=failures,
            incident=incident,
            checked_at=records.now(),
        )
        # It got somewhere: what the ladder had to do for it in earlier years is forgiven.
        await tx.execute(
            update(record_table)
            .where(record_table.c.id == id, record_table.c.state == "scheduled")
            .where(record_table.c.runs > 0)
            .values(runs=0)
        )
    return await _round(tx, record, state, generation, told=False)


async def told(tx: AsyncConnection, id: str, n: int, what: str) -> None:
    """Notes that an alert was sent."""
    row = (incidents.c.monitor == id) & (incidents.c.n == n)
    await tx.execute(update(incidents).where(row).values({f"{what}_told": True}))
    closed = incidents.c.closed_at.is_not(None) & incidents.c.recovery_told
    rest = incidents.c.warning_told & (
        incidents.c.critical_at.is_(None) | incidents.c.critical_told
    )
    await tx.execute(update(incidents).where(row, closed, rest).values(done=True))


async def get(tx: AsyncConnection, id: str) -> RowMapping | None:
    """The state of a monitor that has begun."""
    query = select(monitors).where(monitors.c.id == id)
    return (await tx.execute(query)).mappings().one_or_none()


async def page(tx: AsyncConnection, id: str, after: int, limit: int) -> list[RowMapping]:
    """Incidents of a monitor in order of their numbers, from behind `after`."""
    query = (
        select(incidents)
        .where(incidents.c.monitor == id, incidents.c.n > after)
        .order_by(incidents.c.n)
        .limit(limit)
    )
    return list((await tx.execute(query)).mappings())


async def _known(tx: AsyncConnection, id: str) -> RowMapping:
    new = {"id": id, "generation": 0, "failures": 0, "incident": 0, "controls": 0, "settings": {}}
    await insert_once(tx, monitors, {**new, "paused": False, "stopped": False})
    return (await tx.execute(select(monitors).where(monitors.c.id == id))).mappings().one()


async def _set(tx: AsyncConnection, id: str, **values: Any) -> dict[str, Any]:
    await tx.execute(update(monitors).where(monitors.c.id == id).values(**values))
    return values


def _nothing(id: str, generation: int) -> Round:
    return Round(generation=generation, checks=Checks(url="http://ended.invalid"), stopped=True)


def current(record: Any, state: Any) -> Checks:
    """What is checked now: as it was started, with every update since."""
    started = {name: record["input"][name] for name in Checks.model_fields}
    return Checks.model_validate({**started, **(state["settings"] if state else {})})


async def _round(
    tx: AsyncConnection, record: RowMapping, state: dict[str, Any], generation: int, *, told: bool
) -> Round:
    checks = current(record, state)
    generation = max(generation, state["generation"])
    resting = state["paused"] or state["stopped"]
    check = state["generation"] < generation and not resting
    due = None
    if state["checked_at"] is not None and not resting:
        pause = checks.unhealthy_interval if state["failures"] else checks.healthy_interval
        due = state["checked_at"] + timedelta(seconds=pause)
    alerts = [] if told else await _due(tx, record["id"])
    if check or alerts or state["stopped"]:
        step = "check" if check else "alert" if alerts else None
        await records.progress(tx, record["id"], status="RUNNING", step=step)
    else:
        await records.progress(
            tx, record["id"], status="WAITING", step=None, waiting_for=controls.NAME, due_at=due
        )
    return Round(
        generation=generation,
        checks=checks,
        check=check,
        alerts=alerts,
        stopped=state["stopped"],
        sleep=None if due is None else max(0.0, (due - records.now()).total_seconds()),
    )


async def _follow(
    tx: AsyncConnection, record: RowMapping, state: dict[str, Any], finding: Finding, failures: int
) -> int:
    """Opens, raises or closes the incident of a monitor; returns the newest incident's number."""
    id, n, at = record["id"], state["incident"], records.now()
    if failures and not state["failures"]:
        n += 1
        opened = {"monitor": id, "n": n, "opened_at": at, "reason": finding.health.reason}
        flags = dict.fromkeys(("warning_told", "critical_told", "recovery_told", "done"), False)
        await insert_once(tx, incidents, {**opened, **flags})
        await _prune(tx, id, n)
    open_ = (incidents.c.monitor == id) & (incidents.c.n == n)
    if failures >= current(record, state).critical_after:
        first = incidents.c.critical_at.is_(None)
        await tx.execute(update(incidents).where(open_, first).values(critical_at=at))
    if state["failures"] and not failures:
        await tx.execute(update(incidents).where(open_).values(closed_at=at))
    return int(n)


async def _due(tx: AsyncConnection, id: str) -> list[Alert]:
    query = (
        select(incidents)
        .where(incidents.c.monitor == id, incidents.c.done.is_(False))
        .order_by(incidents.c.n)
        .limit(MOST)
    )
    due = []
    for row in (await tx.execute(query)).mappings():
        if not row["warning_told"]:
            due.append(Alert(incident=row["n"], what="warning"))
        if row["critical_at"] and not row["critical_told"]:
            due.append(Alert(incident=row["n"], what="critical"))
        if row["closed_at"] and not row["recovery_told"]:
            due.append(Alert(incident=row["n"], what="recovery"))
    return due[:MOST]


async def _prune(tx: AsyncConnection, id: str, newest: int) -> None:
    """Forgets the attempts at alerts of incidents long past, all of whose alerts were sent."""
    shown = select(incidents.c.opened_at).where(
        incidents.c.monitor == id, incidents.c.n == newest - SHOWN
    )
    since = (await tx.execute(shown)).scalar_one_or_none()
    undone = select(incidents.c.n).where(incidents.c.monitor == id, incidents.c.done.is_(False))
    pending = (await tx.execute(undone.order_by(incidents.c.n).limit(1))).scalar_one()
    if since is not None and pending >= newest - SHOWN:
        await tx.execute(
            delete(attempts).where(attempts.c.instance == id, attempts.c.begun_at < since)
        )
