"""What is promised besides the suite's promises, because only hours or many can break it.

As there: one function each, its docstring is the promise, and it says why it is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from simulation.evidence import Seen, moment
from simulation.schedule import DAY, HOUR

# Effects that may come after the end: money that was captured too late is given back.
ENDURING = ("ml.train",)  # nothing takes a training back: it runs to its end without a use
AFTERWARDS = ("/late_refund", "/audit_refund")
# Interventions for which nothing that is drawn is a reason, not even an outage.
NEVER = ("bad_deployment", "poison", "unaccounted", "forged")
# Only the engine makes a deployment fail: where providers are away, a person is asked.
GIVEN_UP = frozenset({"ROLLED_BACK"})
RUNS = 2  # times that an instance is run again before a person is asked
UNSTARTED = 600.0  # seconds without an engine after which a person is notified


def as_drawn(seen: Seen) -> str | None:
    """Slow is not stuck: an instance ends as its story says, whatever replicas and engine do."""
    if not seen.ended:
        return None
    right = seen.story.outcomes
    stuck = any(one["kind"] == "stuck" for one in seen.asked)
    if seen.strain.harsh or stuck:
        right = right | seen.story.faulty
    if stuck:
        # What the engine broke again and again was undone; another promise asks whether rightly.
        right = right | GIVEN_UP
    if seen.outcome in right:
        return None
    return f"it ended as {seen.outcome}, not {' or '.join(sorted(right))}: {_why(seen)}"


def no_needless_intervention(seen: Seen) -> str | None:
    """A person is asked only about what a person has to settle."""
    for one in seen.asked:
        if not _is_reason_to_ask(seen, one["kind"]):
            return f"{one['id']} ({one['kind']}): {one['reason']}"
    return None


def _is_reason_to_ask(seen: Seen, kind: str) -> bool:
    match kind:
        case "start_failed":
            return seen.strain.away > UNSTARTED
        case "stuck":
            # What is rolled back after its end is run again at once, and then once more.
            reopened = any(call.path.endswith("/rollback") for call, _ in seen.calls)
            return seen.strain.damaged > RUNS - reopened
        case _:
            return kind not in NEVER and (seen.strain.harsh or seen.story.asks)


def silence(seen: Seen) -> str | None:
    """After the end, silence."""
    if not seen.ended or seen.record is None:
        return None
    over = moment(seen.record["ended_at"]) + seen.strain.skew
    for effect in seen.effects:
        late = moment(effect["at"]) - over
        expected = effect["key"].endswith(AFTERWARDS) or seen.story.late_money
        expected = expected or effect["operation"] in ENDURING
        if late > 0 and not expected:
            return f"{effect['operation']} ({effect['key']}) {late:.0f} s after the end"
    return None


def amounts(seen: Seen) -> str | None:
    """What is taken is what was agreed, and what is given back is what was taken."""
    if seen.story.kind != "order_fulfilment":
        return None
    price = sum(line["quantity"] * line["unit_price"] for line in seen.start["lines"])
    for effect in seen.effects:
        amount = effect["detail"].get("amount")
        if effect["operation"].startswith("payment.") and amount not in (price, None):
            return f"{effect['operation']} of {amount}, not {price}"
    return None


def in_time(seen: Seen) -> str | None:
    """Nothing happens before its time, and nothing long after it."""
    if seen.record is None or seen.record["started_at"] is None:
        return None
    began = moment(seen.record["accepted_at"])
    # Parked by the ladder or by a step, it waits for nothing but a person.
    parked = sum(_open_for(one) for one in seen.asked if one["kind"] in ("stuck", "step_failed"))
    for what, at, due in _due(seen):
        if at - began < due - seen.strain.skew:
            return f"{what} after {at - began:.0f} s, not {due:.0f}"
        if at - began > due + seen.strain.delay + parked:
            return f"{what} only after {at - began:.0f} s, not {due:.0f}"
    return None


def notified(seen: Seen) -> str | None:
    """Of every open intervention a person is notified, once; and of nothing else."""
    known = {one["id"] for one in seen.asked}
    keys = [effect["key"] for effect in seen.notifications]
    if twice := [key for key in set(keys) if keys.count(key) > 1]:
        return f"notified twice: {', '.join(sorted(twice))}"
    if strange := [key for key in keys if not any(key.startswith(f"{id}/") for id in known)]:
        return f"notified of what is no intervention: {', '.join(strange)}"
    for one in seen.asked:
        silent = not any(key.startswith(f"{one['id']}/") for key in keys)
        if silent and _open_for(one) > seen.strain.delay and not seen.strain.harsh:
            return f"no person was notified of {one['id']}"
    return None


def _open_for(asked: Mapping[str, str | None]) -> float:
    """Seconds until a person answered; of what was short no person need have been notified."""
    answered = asked["answered_at"] if asked["action"] else None
    return moment(answered) - moment(str(asked["opened_at"])) if answered else float("inf")


def undos_are_patient(seen: Seen) -> str | None:
    """What can be undone later is tried for a day at least before a person is asked."""
    for one in seen.asked:
        key = one["id"].rpartition("/")[0]
        tried = [moment(row["at"]) for row in seen.attempts if row["key"] == key]
        lasted = moment(one["opened_at"]) - min(tried, default=0.0)
        hopeless = not one["reason"].startswith("exhausted")
        if one["kind"] == "undo_failed" and not hopeless and lasted < DAY:
            return f"{one['id']} after {lasted:.0f} s: {one['reason']}"
    return None


def _due(seen: Seen) -> Iterator[tuple[str, float, float]]:
    """What happens at a moment that is known from the start: what, when, and how long after it."""
    for effect in seen.effects:
        at, key = moment(effect["at"]), effect["key"]
        if key.endswith("/notify_director/1"):
            yield "escalated", at, 48 * HOUR
        if "/remind/" in key:
            week = int(key.split("/remind/")[1].split("/")[0])
            yield f"reminder {week}", at, week * 7 * DAY
    due = {"TIMED_OUT": 72 * HOUR, "EXPIRED": 30 * DAY}.get(seen.outcome or "")
    if due and seen.record is not None:
        yield str(seen.outcome), moment(seen.record["ended_at"]), due


def _why(seen: Seen) -> str:
    return str(seen.record["reason"]) if seen.record else "nothing is known of it"


OWN: Mapping[str, Callable[[Seen], str | None]] = {
    check.__name__: check
    for check in (
        as_drawn,
        no_needless_intervention,
        silence,
        amounts,
        in_time,
        notified,
        undos_are_patient,
    )
}
