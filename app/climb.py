"""The ladder for what the engine loses: the instance is disposable, the id, keys and inbox are not.

An instance that is late gets an inert event; if that does not help, or the engine has failed or
lost it, it is run again under the same id; after two such runs a person is asked. Many that stand
still alike are one fault of the engine (`load.py`), many that fail alike a bad deployment: then
the ladder stops, because it would only add to what is wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from activities.effect import Env
from app.engine import ENDED, Engine, EngineConfused, EngineUnavailable
from app.load import LONGEST, Brake
from app.settings import Settings
from store import desired_state, interventions, ladder, queue, records
from workflows.messages import Ending, Incident, IncidentKind

log = logging.getLogger(__name__)

PAGE = 200  # instances that are looked at in one sweep
GLANCE = 20  # those while there is a queue, to which looking adds
ABREAST = 8  # that are looked at at a time
# How patient it is with each run, as a multiple: the last rung is the dangerous one, and an engine
# that is slow with a few instances shows no queue.
LATER = (1, 2, 8)
# In multiples of the patience of the last run: how long others may take to get on, and for how long
# it is left alone while they do. By default 16 minutes, and four hours.
GETS_ON, WITH_OTHERS = 4, 60
MAX_RUNS = 2  # times an instance is run again before a person is asked
PROBE = 10  # instances that failed alike and are run again in one sweep
BAD_DEPLOYMENT = 3  # that failed alike although they were run again
ALIKE = 300.0  # seconds, and twice the patience, within which they are alike
STALLED = "engine/stalled"  # the key of what is asked when nothing moves
LEFT_ALONE = "engine/left_alone"
LOOK_AGAIN = 600.0  # seconds, at most, between two looks at what is left alone
MENDED = 120.0  # those where it is a deployment that is to be mended

UNKNOWN = ""  # the engine did not say


class LeftAlone(NamedTuple):
    """One of whom the engine says that nothing is to be done about it, or says nothing."""

    status: str
    since: datetime
    seen_at: datetime


class Climb:
    """Climbs with whoever is late; `raise_event` wakes one in the background."""

    def __init__(
        self, env: Env, engine: Engine, settings: Settings, raise_event: Callable[..., bool]
    ) -> None:
        self._env = env
        self._engine = engine
        self._settings = settings
        self._raise_event = raise_event
        self._brake = Brake(settings.stall_after, settings.reconcile_interval)
        self._after: ladder.Place | None = None
        self._at_once = False
        self._encouraged_at: datetime | None = None
        self._failed_again: defaultdict[str, dict[str, datetime]] = defaultdict(dict)
        self._failed: defaultdict[str, dict[str, datetime]] = defaultdict(dict)
        self._left_alone: dict[str, LeftAlone] = {}

    async def sweep_at_once(self, report: Any) -> None:
        """The same for somebody who has not watched the load before: a command."""
        self._at_once = True
        await self.sweep(report)

    async def sweep(self, report: Any) -> None:
        """Looks at those that are late, a page at a time, so that none of them hides another."""
        async with self._env.store.reading() as tx:
            load = await queue.load(tx, self._brake.probed)
        self._brake.look(records.now(), load)
        await self._hear_encouragement()
        await self._tell_of_stall(load.queued)
        await self._hear_answers(report)
        page = GLANCE if self._brake.busy else PAGE
        async with self._env.store.reading() as tx:
            rows = await ladder.late(tx, self._settings.stall_after, self._after, page)
        seen = await self._look(rows)
        await self._act(seen, report)
        self._after = ladder.next_place(rows, "expected_at", page)
        await self._tell_of_left_alone()

    async def _look(self, rows: list[Any]) -> list[tuple[Any, str, str]]:
        """Each instance with its status in the engine, and the cause where it failed."""
        seen: list[tuple[Any, str, str]] = []
        for start in range(0, len(rows), ABREAST):
            some = rows[start : start + ABREAST]
            looked = await asyncio.gather(*(self._status(row) for row in some))
            seen += [(row, *found) for row, found in zip(some, looked, strict=True)]
            if all(status == UNKNOWN for status, _ in looked):
                break  # it is away, and whoever asks on waits for nothing
        if (
            any(status == "UNREADABLE" for _, status, _ in seen)
            and not await self._engine.answers()
        ):
            return [one for one in seen if one[1] != "UNREADABLE"]
        return seen

    async def _status(self, row: Any) -> tuple[str, str]:
        try:
            state = await self._engine.state(row["engine_id"])
        except EngineConfused as error:
            return "UNREADABLE", str(error)
        except EngineUnavailable as error:
            log.info("ladder: %s", error)
            return UNKNOWN, ""
        status = state.status if state else "MISSING"
        return status, (state.failure if state and state.failure else status)

    async def _act(self, seen: list[tuple[Any, str, str]], report: Any) -> None:
        failed: dict[str, list[Any]] = defaultdict(list)
        await self._unanswered([row for row, status, _ in seen if status == UNKNOWN], report)
        for row, status, cause in seen:
            if status not in (UNKNOWN, "SUSPENDED", "STALLED"):
                self._left_alone.pop(row["id"], None)
            if status in ("SUSPENDED", "STALLED"):
                report.left_alone.append(row["id"])
                await self._leave_alone(row, status)
            elif status == "TERMINATED":
                await self._end_terminated(row, report)
            elif status in ENDED or status == "MISSING":
                failed[_signature(cause)].append((row, cause))
            elif status != UNKNOWN:
                await self._stands_still(row, status, report)
        for signature, members in failed.items():
            await self._run_failed_again(signature, members, report)

    async def _unanswered(self, rows: list[Any], report: Any) -> None:
        """The engine says nothing of these, whatever it says of others."""
        if rows and await self._engine.answers():
            for row in rows:
                report.left_alone.append(row["id"])
                await self._leave_alone(row, "not answered for")

    async def _stands_still(self, row: Any, status: str, report: Any) -> None:
        """First woken, then run again; neither before it is later than the load explains."""
        brake, at = self._brake, records.now()
        if row["expected_at"] < row["progress_at"]:
            # A replica of the version before made it get on, and knows no expectations.
            due = max(row["progress_at"], row["due_at"] or row["progress_at"])
            async with self._env.store.transaction() as tx:
                await ladder.expect(tx, row, due)
            return
        patience = self._settings.stall_after if self._at_once else brake.patience
        patience *= LATER[min(self._runs(row), MAX_RUNS)]
        if (at - row["expected_at"]).total_seconds() <= patience:
            return
        if row["woken_at"] is None:
            if brake.touch("wake", row):
                await self._wake(row, status, report)
            return
        since_woken = (at - row["woken_at"]).total_seconds()
        if since_woken <= patience or await self._left_to_a_person(row):
            return
        if brake.stalled and self._runs(row) >= MAX_RUNS:
            # It is no worse than the others: whatever holds them all up may be over by now.
            if since_woken > LONGEST and brake.touch("wake", row):
                await self._wake(row, status, report)
        elif await self._is_slow_with_others(row):
            return
        elif brake.touch("run", row):
            cause, first = "it got nowhere after it was woken", self._runs(row) == 0
            await self._run_again(row, cause, report, forgiven=first)

    async def _is_slow_with_others(self, row: Any) -> bool:
        """Whether the engine gets on with others that it kept waiting, if ever so slowly.

        Then one that had its runs is no worse than they are; but not for ever.
        """
        patience = self._settings.stall_after * LATER[-1]
        idle = (records.now() - row["progress_at"]).total_seconds()
        if self._runs(row) < MAX_RUNS or idle > WITH_OTHERS * patience:
            return False
        async with self._env.store.reading() as tx:
            return await ladder.get_on_late(tx, row["id"], patience * GETS_ON)

    async def _left_to_a_person(self, row: Any) -> bool:
        async with self._env.store.transaction() as tx:
            parked = await ladder.unanswered(tx, row)
            if parked:  # whatever woke it, it is a person's
                await ladder.expect(tx, row, None)
        return parked

    def _runs(self, row: Any) -> int:
        """How often it was run again since a person last said that all are to be tried again."""
        since = self._encouraged_at
        forgiven = since is not None and row["progress_at"] < since
        return 0 if forgiven else int(row["runs"])

    async def _hear_encouragement(self) -> None:
        """`retry` to what is asked about the stall: those that were tried are tried once more."""
        if not self._brake.stalled:
            return
        async with self._env.store.reading() as tx:
            retried = await interventions.last_retried(tx, STALLED)
        if retried not in (None, self._encouraged_at):
            self._brake.encourage()
            self._encouraged_at = retried

    async def _wake(self, row: Any, status: str, report: Any) -> None:
        noting = partial(ladder.woken, row=row, anew=row["woken_at"] is not None)
        if status == "UNREADABLE":
            # Nobody can wake it; what counts is that it still cannot be read after a while.
            async with self._env.store.transaction() as tx:
                await noting(tx)
        elif self._raise_event(row, "wake", noting):
            report.woken.append(row["id"])

    async def _end_terminated(self, row: Any, report: Any) -> None:
        """Somebody stopped it past the API; it is not for a machine to overrule a person.

        Unless it was us: what is at the end of the ladder was stopped there.
        """
        async with self._env.store.transaction() as tx:
            if ladder.at_the_end(row):
                await ladder.expect(tx, row, None)
            elif await ladder.still(tx, row):
                by = "somebody who told the engine"
                await desired_state.end_terminated(tx, row["id"], by)
                report.terminated.append(row["id"])

    async def _run_failed_again(self, signature: str, members: list[Any], report: Any) -> None:
        forgiven = await self._forgiven(signature, members)
        if forgiven is None:
            report.bad_deployment.extend(row["id"] for row, _ in members)
            for row, _ in members:
                await self._look_later(row, MENDED)
            return
        # A few first: what made these fail may fail the rest as well.
        for row, cause in members[:PROBE]:
            await self._run_again(row, cause, report, forgiven=row["id"] in forgiven)

    async def _forgiven(self, signature: str, members: list[Any]) -> set[str] | None:
        """Who has its two runs again; `None` while all that fail alike are left alone.

        They are until a person says retry.
        """
        key = f"engine/{signature}"
        async with self._env.store.transaction() as tx:
            asked = [one for one in await interventions.of_instance(tx, "-") if one["key"] == key]
            last = asked[-1] if asked else None
            if last is not None and last["action"] is None:
                return None
            forgiven = {
                row["id"]
                for row, _ in members
                if last is not None and row["progress_at"] < last["answered_at"]
            }
            again = {row["id"] for row, _ in members if row["runs"]} - forgiven
            since = last["answered_at"] if last is not None else None
            alike = _lately(self._failed_again[signature], again, self._window(since))
            # Nobody is given up for what others fail of too, be it for their first time.
            hopeless = any(row["runs"] >= MAX_RUNS for row, _ in members if row["id"] in again)
            all_of_them = {row["id"] for row, _ in members}
            first = _lately(self._failed[signature], all_of_them, self._window(since))
            few = max(alike, first if hopeless else 0) < BAD_DEPLOYMENT
            if few or signature == "MISSING":
                return forgiven
            incident = Incident(
                instance="-",
                key=key,
                n=interventions.following(one["id"] for one in asked),
                kind="bad_deployment",
                reason=f"{len(members)} instances fail alike: mend the deployment, and"
                f" answer retry. {members[0][1]}"[:500],
                blocking=False,
            )
            await interventions.open_(tx, incident)
        return None

    def _window(self, since: datetime | None) -> datetime:
        """Since when failures count as one: lately, and since a person has answered.

        Each is late at a moment of its own, and the first must not be given up for what is a
        fault of all.
        """
        fresh = records.now() - timedelta(seconds=2 * self._settings.stall_after + ALIKE)
        return max(fresh, since or fresh)

    async def _run_again(
        self, row: Any, cause: str, report: Any, *, forgiven: bool = False
    ) -> None:
        runs = 0 if forgiven else row["runs"]
        async with self._env.store.transaction() as tx:
            if runs < MAX_RUNS:
                if await ladder.run_again(tx, row, runs=runs + 1):
                    report.run_again.append(row["id"])
            elif not self._brake.stalled:
                why = f"run again {MAX_RUNS} times, and no further: {cause}"
                if await ladder.give_up(tx, row, why[:500]):
                    report.given_up.append(row["id"])

    async def _hear_answers(self, report: Any) -> None:
        """`retry` starts the ladder anew, `settled` ends the record."""
        async with self._env.store.reading() as tx:
            rows = await ladder.answered(tx, PAGE)
        for row in rows:
            async with self._env.store.transaction() as tx:
                if row["action"] == "settled":
                    await records.end(tx, Ending(instance=row["id"], outcome="SETTLED"))
                elif await ladder.run_again(tx, row, runs=1):
                    report.run_again.append(row["id"])
                else:
                    continue  # it is suspended, or somebody moved it: heard when it can be obeyed
                await ladder.heard(tx, row["intervention"])

    async def _tell_of_stall(self, queued: int) -> None:
        since = self._brake.stalled_since
        patience = self._settings.stall_after
        lasts = since is not None and (records.now() - since).total_seconds() > patience
        why = (
            f"{queued} instances are due and nothing moves; they are left alone until it does."
            " Look at the sidecar, the scheduler and the last deployment"
        )
        await tell(self._env, STALLED, "engine_stalled", why if lasts else None)

    async def _leave_alone(self, row: Any, status: str) -> None:
        # Not since it last got on: whoever was to wait for days is late for seconds.
        at = records.now()
        before = self._left_alone.get(row["id"], LeftAlone(status, at, at))
        since = before.since if row["progress_at"] <= before.since else at
        self._left_alone[row["id"]] = LeftAlone(status, since, at)
        await self._look_later(row, LOOK_AGAIN)

    async def _look_later(self, row: Any, most: float) -> None:
        """Nothing is expected of it for a while, so that it is not taken for a queue."""
        at, least = records.now(), self._settings.stall_after
        pause = min(max(least, (at - row["progress_at"]).total_seconds() / 2), most)
        async with self._env.store.transaction() as tx:
            await ladder.expect(tx, row, at + timedelta(seconds=pause))

    async def _tell_of_left_alone(self) -> None:
        """Somebody suspended it past the API, or no replica has its version: a person's affair."""
        if self._at_once:
            return  # a command knows of none for how long
        fresh = records.now() - timedelta(seconds=2 * (LOOK_AGAIN + self._settings.stall_after))
        self._left_alone = {id: one for id, one in self._left_alone.items() if one.seen_at > fresh}
        long = timedelta(seconds=self._settings.start_alert_after)
        told = [
            f"{id} is {one.status}"
            for id, one in self._left_alone.items()
            if one.seen_at - one.since > long
        ]
        why = (
            f"{len(told)} get no further and are left alone; answer retry to run them again:"
            f" {', '.join(told[:5])}"
        )
        await tell(self._env, LEFT_ALONE, "engine_stalled", why if told else None)


async def tell(env: Env, key: str, kind: IncidentKind, why: str | None) -> None:
    """Asks once about all of it, for as long as there is a `why`; without one it is over."""
    async with env.store.reading() as tx:
        asked = await interventions.is_open(tx, key)
    if asked == (why is not None):
        return
    async with env.store.transaction() as tx:
        if why is None:
            await interventions.heal(tx, key)
        else:
            await interventions.ask_once(tx, "-", key, kind, why)


def _lately(seen: dict[str, datetime], ids: set[str], since: datetime) -> int:
    """Adds those that are seen now; how many were seen since."""
    seen.update(dict.fromkeys(ids, records.now()))
    for id in [id for id, at in seen.items() if at < since]:
        del seen[id]
    return len(seen)


def _signature(cause: str) -> str:
    """What failures of one kind have in common: the message without ids and numbers."""
    if cause in ("MISSING", *ENDED):
        return cause
    alike = re.sub(r"[0-9a-f]{8,}|\d+", "#", cause)
    return hashlib.sha256(alike.encode()).hexdigest()[:12]
