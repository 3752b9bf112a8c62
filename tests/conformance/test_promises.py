"""Each promise holds for what is right, and is broken by what breaks it, and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conformance.judge.evidence import Answer, Evidence
from conformance.judge.verdict import Hit, broken_promises, verdict
from conformance.plan.contract import Ending, Request, Signal, WorkflowPath
from conformance.promises import checks, text
from tests.conformance.examples import a_path, evidence

UNDOES = {"bank.refund": "bank.charge", "stock.release": "stock.reserve", "mail.send": "mail.send"}
DONE = Ending(outcome="DONE", effects=("bank.charge", "stock.reserve", "mail.send to=customer"))
UNDONE = Ending(
    outcome="UNDONE", effects=("bank.charge", "stock.reserve", "stock.release", "bank.refund")
)
FIRED = Hit(True, "SIGKILL", 1.0, 2.0)


def path(*endings: Ending, **changes: Any) -> WorkflowPath:
    return a_path("order/path", endings=endings, **changes)


def effect(operation: str, key: str, undoes: str | None = None, **detail: str) -> dict[str, Any]:
    return {"operation": operation, "key": key, "undoes": undoes, "detail": detail}


CHARGE = effect("bank.charge", "o/charge")
RESERVE = effect("stock.reserve", "o/reserve")
MAIL = effect("mail.send", "o/mail", to="customer")
RELEASE = effect("stock.release", "o/release", "o/reserve")
REFUND = effect("bank.refund", "o/refund", "o/charge")


def seen(way: WorkflowPath, effects: list[dict[str, Any]], **changes: Any) -> Evidence:
    siblings = frozenset({"DONE", "UNDONE"})
    known = {"effects": effects, "undoes": UNDOES, "sibling_outcomes": siblings}
    return evidence(way, **{**known, **changes})


def broken(found: Evidence) -> set[str]:
    names, crashed = broken_promises(found, checks())
    assert crashed == ""
    return set(names)


def test_all_done_and_all_undone_keep_every_promise() -> None:
    assert broken(seen(path(DONE), [CHARGE, RESERVE, MAIL])) == set()
    assert broken(seen(path(UNDONE), [CHARGE, RESERVE, RELEASE, REFUND])) == set()


@pytest.mark.parametrize(
    "effects",
    [
        [CHARGE, CHARGE, RESERVE, MAIL],
        [CHARGE, effect("bank.charge", "o/charge/2"), RESERVE, MAIL],
        [CHARGE, RESERVE, MAIL, effect("carrier.ship", "o/ship")],
    ],
)
def test_an_effect_twice_or_out_of_nowhere(effects: list[dict[str, Any]]) -> None:
    assert "at_most_once" in broken(seen(path(DONE), effects))


def test_an_undo_twice() -> None:
    twice = effect("bank.refund", "o/refund/2", "o/charge")
    effects = [CHARGE, RESERVE, RELEASE, REFUND, twice]
    assert "at_most_once" in broken(seen(path(UNDONE), effects))


def test_what_was_undone_may_be_done_again_where_that_is_declared() -> None:
    again = Ending(outcome="DONE", effects=("mail.send", "mail.send"))
    effects = [MAIL, effect("mail.send", "o/unmail", "o/mail")]
    assert broken(seen(path(again), effects)) == set()


@pytest.mark.parametrize(
    ("effects", "why"),
    [
        ([CHARGE, RESERVE, RELEASE], "bank.refund"),
        ([CHARGE, RESERVE, REFUND, RELEASE], "reverse order"),
        ([], "missing"),
    ],
)
def test_half_undone_or_undone_in_the_wrong_order(effects: list[dict[str, Any]], why: str) -> None:
    assert why in broken_promises(seen(path(UNDONE), effects), checks())[0]["all_or_nothing"]


def test_undone_although_it_was_done() -> None:
    effects = [CHARGE, RESERVE, MAIL, REFUND]
    assert "all_or_nothing" in broken(seen(path(DONE), effects))


def test_an_order_that_does_not_matter() -> None:
    loose = DONE.model_copy(update={"unordered": True})
    assert broken(seen(path(loose), [RESERVE, CHARGE, MAIL])) == set()
    assert broken(seen(path(DONE), [RESERVE, CHARGE, MAIL])) == {"all_or_nothing"}


def test_a_late_do_after_its_undo() -> None:
    late = effect("bank.charge", "o/charge/late")
    effects = [CHARGE, RESERVE, RELEASE, REFUND, late]
    assert "undo_wins" in broken(seen(path(UNDONE), effects))


def test_what_was_accepted_is_known_and_begun() -> None:
    gone = seen(path(DONE), [], ended=False, outcome=None, missing=True, turns=0, engine=None)
    assert "nothing_lost" in broken(gone)
    untouched = replace(gone, missing=False)
    assert "nothing_lost" in broken(untouched)
    refused = replace(gone, answers=[Answer(0.0, "start", 503)])
    assert "nothing_lost" not in broken(refused)


def test_a_terminal_failure_that_nobody_takes_up() -> None:
    dead = seen(path(DONE), [CHARGE], ended=False, outcome=None, engine="FAILED")
    assert broken(dead) == {"no_dead_end", "settles"}
    strange = seen(path(DONE), [CHARGE, RESERVE, MAIL], outcome="EXPLODED")
    assert "no_dead_end" in broken(strange)


DECIDED = path(
    Ending(outcome="APPROVED", effects=("bank.charge",)),
    Ending(outcome="REJECTED"),
    signals=(
        Signal(
            requests=(
                Request(url="{app}/yes", claims="APPROVED"),
                Request(url="{app}/no", claims="REJECTED"),
            )
        ),
    ),
)


@pytest.mark.parametrize(
    ("accepted", "outcome", "holds"),
    [
        (["APPROVED"], "APPROVED", True),
        (["REJECTED"], "APPROVED", False),
        (["APPROVED", "REJECTED"], "APPROVED", False),
    ],
)
def test_the_answer_to_who_decides_is_the_truth(
    accepted: list[str], outcome: str, holds: bool
) -> None:
    answers = [Answer(1.0, "signal 1", 200, claims) for claims in accepted]
    answers.append(Answer(1.0, "signal 1", 409, "REJECTED"))
    effects = [CHARGE] if outcome == "APPROVED" else []
    siblings = frozenset({"APPROVED", "REJECTED"})
    found = seen(DECIDED, effects, answers=answers, outcome=outcome, sibling_outcomes=siblings)
    assert ("one_decision" not in broken(found)) is holds


def test_nothing_that_was_not_accepted_decides() -> None:
    forged = replace(DECIDED, endings=(Ending(outcome="REJECTED"),))
    found = seen(forged, [CHARGE], outcome="APPROVED", answers=[Answer(0.0, "start", 202)])
    assert "one_decision" in broken(found)


TOLD = path(DONE, signals=(Signal(requests=(Request(url="{app}/go"),)),))


def test_an_accepted_event_that_is_never_consumed() -> None:
    answers = [Answer(0.0, "start", 202), Answer(1.0, "signal 1", 200)]
    waiting = seen(TOLD, [CHARGE], answers=answers, ended=False, outcome=None, idle=True)
    assert broken(waiting) == {"events_once", "settles"}
    untold = replace(waiting, answers=answers[:1])
    assert broken(untold) == {"settles"}


def test_an_event_delivered_twice_is_not_two_events() -> None:
    twice = seen(TOLD, [CHARGE], fault="message:duplicate", point="event:1:request")
    assert "events_once" in broken(twice)


def test_one_alert_for_each_incident() -> None:
    ending = Ending(outcome="DONE", effects=("mail.send to=on-call incident=1",))
    way = path(ending, alerts=("mail.send to=on-call",))
    alert = effect("mail.send", "o/1", to="on-call", incident="1")
    again = effect("mail.send", "o/1/again", to="on-call", incident="1")
    assert broken(seen(way, [alert])) == set()
    assert broken(seen(way, [alert, again])) == {"one_alert"}
    assert "one_alert" in broken(seen(way, []))


def test_a_start_after_the_end_does_nothing() -> None:
    before = [CHARGE, RESERVE, MAIL]
    same = seen(path(DONE), before, before_repeat=before)
    assert broken(same) == set()
    more = [*before, effect("bank.charge", "o/charge/2")]
    assert "duplicate_start" in broken(seen(path(DONE), more, before_repeat=before))


def test_what_is_reported_is_what_the_ledger_shows() -> None:
    found = seen(path(UNDONE), [CHARGE, RESERVE, RELEASE, REFUND], outcome="DONE")
    assert broken(found) == {"honest_report"}


def test_what_does_not_end_in_time() -> None:
    late = seen(path(DONE), [CHARGE], ended=False, outcome=None, engine=None)
    assert broken(late) == {"settles"}


def test_without_proof_of_the_fault_nothing_is_passed() -> None:
    missed = Hit(False, "it was not held", 0.0, 0.0)
    assert verdict({}, "", FIRED) == ("pass", "")
    assert verdict({}, "", missed) == ("unknown", "it was not held")
    assert verdict({"settles": "late"}, "", missed)[0] == "fail"


def test_a_check_that_crashes_is_unknown() -> None:
    damaged = seen(path(DONE), [{"operation": "bank.charge"}])
    names, crashed = broken_promises(damaged, checks())
    assert "crashed" in crashed
    assert verdict(names, crashed, FIRED)[0] in ("unknown", "fail")
    assert verdict({}, crashed, FIRED)[0] == "unknown"


def test_every_promise_has_its_words() -> None:
    assert len(checks()) == 11
    for name in checks():
        assert len(text(name)) > 30
