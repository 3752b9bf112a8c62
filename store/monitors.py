"""What is known of a monitored service: its round, its failures in a row, and its incidents.

One row a monitor, one row an incident. Everything is compared and changed under the record's lock,
so that of two runs of the same round one finds and the other is told.

Somebody is told once of an incident's beginning (warning), of the failure that makes it critical,
and of its end (recovery). A service that flaps would alarm at every turn, and nobody would listen.
So the first incident that is one too many (`Damping`) is told as flapping, instead of with a
warning; its recovery, and warnings and recoveries of those that follow, are held back until the
service was well for a while. Then one alert says that it is stable, and incidents are counted anew.
What is critical is never held back, nor is the recovery of what somebody was told is critical. All
of it is rows, so another run of the same round says the same, under the same keys.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import insert_once, monitor_controls, records
from store.schema import attempts, incidents, monitors
from store.schema import records as record_table
from workflows.health_monitor import Alert, Checks, Damping, Finding, PlanRequest, Round

MOST = 10  # alerts that are sent in one round; the others are due in the next
SHOWN = 1  # incidents before the newest whose attempts are kept for the timeline


async def goes_on(tx: AsyncConnection, id: str) -> bool:
    """Whether a monitor can be told anything; until the end of the transaction it stays so."""
    record = await records.get(tx, id, lock=True)
    return record is not None and record["state"] != "ended"


async def plan(tx: AsyncConnection, look: PlanRequest) -> Round:
    """Drains the controls; what is left to do in this round, or in the newest one that is known."""
    record = await records.get(tx, look.instance, lock=True)
    if record is None or record["state"] == "ended":
        return _nothing(look.instance, look.generation)
    state = dict(await _known(tx, look.instance))
    state |= await _set(tx, look.instance, **await monitor_controls.drain(tx, look.instance, state))
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
        followed = await _follow(tx, record, state, finding, failures)
        state |= await _set(
            tx,
            id,
            generation=generation,
            failures=failures,
            checked_at=records.now(),
            **followed,
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
    await tx.execute(update(incidents).where(_is(id, n)).values({f"{what}_told": True}))
    await _settle(tx, id, n)


async def untold(tx: AsyncConnection, id: str, n: int) -> None:
    """Notes that an alert could not be sent: those of other incidents go first from now on."""
    await tx.execute(update(incidents).where(_is(id, n)).values(untold_at=records.now()))


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


def settings(record: Any, state: Any) -> dict[str, Any]:
    """What is checked now: as it was started, with every update since, whether it makes sense."""
    accepted = record["input"]
    started = {name: accepted[name] for name in Checks.model_fields if name in accepted}
    return {**started, **(state["settings"] if state else {})}


def current(record: Any, state: Any) -> Checks:
    """What is checked now.

    Raises:
        ValidationError: the record cannot be read.
    """
    return Checks.model_validate(settings(record, state))


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
            tx,
            record["id"],
            status="WAITING",
            step=None,
            waiting_for=monitor_controls.NAME,
            due_at=due,
            expected_at=due,
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
) -> dict[str, Any]:
    """Opens, raises or closes the incident of a monitor; returns what its state becomes."""
    id, n, at = record["id"], state["incident"], records.now()
    flapping = state["flapping"]
    if failures and not state["failures"]:
        n += 1
        began = flapping is None and await _flaps(tx, record, n, at)
        flapping = n if began else flapping
        flags = dict.fromkeys(("warning_told", "critical_told", "recovery_told", "done"), False)
        opened = {"monitor": id, "n": n, "opened_at": at, "reason": finding.health.reason, **flags}
        opened |= {"held": flapping is not None, "flapping": began}
        await insert_once(tx, incidents, opened)
        await _prune(tx, id, n)
    if failures >= current(record, state).critical_after:
        first = incidents.c.critical_at.is_(None)
        await tx.execute(update(incidents).where(_is(id, n), first).values(critical_at=at))
    if state["failures"] and not failures:
        await tx.execute(update(incidents).where(_is(id, n)).values(closed_at=at))
        await _settle(tx, id, n)
    if flapping is not None and not failures and await _stable(tx, record, n, at):
        over = {"stable_at": at, "done": False}
        await tx.execute(update(incidents).where(_is(id, flapping)).values(over))
        flapping = None
    return {"incident": n, "flapping": flapping}


def _damping(record: RowMapping) -> Damping:
    # Monitors that were started before there was damping name none.
    return Damping.accepted(record["input"].get("damping") or {})


async def _flaps(tx: AsyncConnection, record: RowMapping, n: int, at: datetime) -> bool:
    """Whether incident `n` is one too many; those that were held back count no more."""
    rule = _damping(record)
    since = at - timedelta(seconds=rule.within)
    query = select(func.count()).where(
        incidents.c.monitor == record["id"],
        incidents.c.n.between(n - rule.more_than, n - 1),
        incidents.c.opened_at > since,
        incidents.c.held.is_(False),
    )
    return (await tx.execute(query)).scalar_one() >= rule.more_than


async def _stable(tx: AsyncConnection, record: RowMapping, n: int, at: datetime) -> bool:
    """Whether a service that flapped has been well for long enough."""
    closed = select(incidents.c.closed_at).where(_is(record["id"], n))
    well_since: datetime = (await tx.execute(closed)).scalar_one()
    return well_since + timedelta(seconds=_damping(record).stable_after) <= at


def _is(id: str, n: int) -> ColumnElement[bool]:
    return (incidents.c.monitor == id) & (incidents.c.n == n)


def owed(row: RowMapping) -> list[str]:
    """What is still to be said of an incident, in order."""
    loud = not row["held"] or row["critical_at"] is not None
    due = {
        "flapping": row["flapping"],
        "warning": not row["held"],
        "critical": row["critical_at"] is not None,
        "recovery": row["closed_at"] is not None and loud,
        "stable": row["stable_at"] is not None,
    }
    return [what for what, it_is in due.items() if it_is and not row[f"{what}_told"]]


async def _settle(tx: AsyncConnection, id: str, n: int) -> None:
    """An incident is done once it is over and nothing is left to be said of it."""
    row = (await tx.execute(select(incidents).where(_is(id, n)))).mappings().one_or_none()
    if row is not None and row["closed_at"] is not None and not owed(row):
        await tx.execute(update(incidents).where(_is(id, n)).values(done=True))


async def _due(tx: AsyncConnection, id: str) -> list[Alert]:
    query = (
        select(incidents)
        .where(incidents.c.monitor == id, incidents.c.done.is_(False))
        .order_by(incidents.c.untold_at.asc().nulls_first(), incidents.c.n)
        .limit(MOST)
    )
    rows = (await tx.execute(query)).mappings()
    due = [
        Alert.model_validate({"incident": row["n"], "what": what})
        for row in rows
        for what in owed(row)
    ]
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
