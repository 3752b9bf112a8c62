"""The judge finds what is wrong with a ledger, and passes nothing that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from simulation.draw import compose
from simulation.judge import Broken, Judgement, judge
from simulation.result import Result
from simulation.schedule import (
    HOUR,
    Away,
    Crash,
    Disturbance,
    Misdelivery,
    Schedule,
    Script,
    StoreAway,
)
from simulation.strain import strain
from simulation.world import simulate
from tests.simulation.judged import judged, plot
from tests.simulation.starts import MODEL, PRESS
from tests.support.shop import order as shop_order


@pytest.fixture(scope="module")
def order() -> tuple[Schedule, Result]:
    schedule = compose(Random("an order"), ["order-quick"], [])
    return schedule, simulate(schedule)


def _with(order: tuple[Schedule, Result], **changes: Any) -> Judgement:
    schedule, result = order
    return judge(schedule, replace(result, **changes))


def _fails(operation: str) -> Script:
    return Script(lasts=780.0, rule={"match": {"operation": operation}, "then": {"status": 503}})


def _broken(judgement: Judgement) -> set[str]:
    return {each.promise for each in judgement.broken}


def test_an_order_that_went_well_keeps_every_promise(order: tuple[Schedule, Result]) -> None:
    judgement = judge(*order)
    assert judgement.kept, judgement
    assert judgement.instances == 1


def test_a_missing_effect_is_seen(order: tuple[Schedule, Result]) -> None:
    effects = [one for one in order[1].effects if one["operation"] != "inventory.reserve"]
    assert "all_or_nothing" in _broken(_with(order, effects=effects))


def test_an_effect_that_happened_twice_is_seen(order: tuple[Schedule, Result]) -> None:
    effects = order[1].effects
    assert "at_most_once" in _broken(_with(order, effects=[effects[0], *effects]))


def test_another_amount_is_seen(order: tuple[Schedule, Result]) -> None:
    first, *rest = order[1].effects
    wrong = {**first, "detail": {**first["detail"], "amount": 1}}
    assert "amounts" in _broken(_with(order, effects=[wrong, *rest]))


def test_an_effect_after_the_end_is_seen(order: tuple[Schedule, Result]) -> None:
    *rest, last = order[1].effects
    late = {**last, "at": "2027-02-01T00:00:00.000000+00:00"}
    assert "silence" in _broken(_with(order, effects=[*rest, late]))


def test_an_effect_for_nobody_is_seen(order: tuple[Schedule, Result]) -> None:
    first = order[1].effects[0]
    strange = {**first, "instance": "another", "key": "another/charge"}
    assert "nothing_unasked" in _broken(_with(order, effects=[*order[1].effects, strange]))


def test_an_outcome_that_was_not_drawn_is_seen(order: tuple[Schedule, Result]) -> None:
    records = {id: {**one, "outcome": "COMPENSATED"} for id, one in order[1].records.items()}
    assert {"as_drawn", "honest_report"} <= _broken(_with(order, records=records))


def test_an_instance_that_never_ends_is_seen(order: tuple[Schedule, Result]) -> None:
    records = {
        id: {**one, "status": "RUNNING", "outcome": None} for id, one in order[1].records.items()
    }
    assert "settles" in _broken(_with(order, records=records))


def test_a_person_who_is_asked_needless_and_not_told_is_seen(
    order: tuple[Schedule, Result],
) -> None:
    (id,) = order[1].records
    asked = {"id": f"{id}/engine/1", "instance": id, "kind": "stuck", "reason": "-", "action": None}
    broken = _broken(_with(order, interventions=[asked]))
    assert {"no_needless_intervention", "notified"} <= broken


def test_a_person_who_was_not_notified_for_an_hour_is_seen(
    order: tuple[Schedule, Result],
) -> None:
    (id,) = order[1].records
    asked = {"id": f"{id}/charge/1", "instance": id, "kind": "step_failed", "reason": "-"}
    answered = {"action": "retry", "opened_at": "2027-01-15T08:00:00Z"}
    for at, seen in (("2027-01-15T08:05:00Z", False), ("2027-01-15T09:00:00Z", True)):
        one = {**asked, **answered, "answered_at": at}
        assert ("notified" in _broken(_with(order, interventions=[one]))) is seen


def test_an_undo_that_is_given_up_before_the_day_is_over_is_seen(
    order: tuple[Schedule, Result],
) -> None:
    (id,) = order[1].records
    charged = order[1].attempts[0]
    asked = {"id": f"{charged['key']}/1", "instance": id, "kind": "undo_failed"}
    given_up = {"reason": "exhausted: -", "action": "retry", "answered_at": "2027-02-01T08:00:00Z"}
    for at, seen in (("2027-01-15T20:00:00Z", True), ("2027-01-16T20:00:00Z", False)):
        one = {**asked, **given_up, "opened_at": at}
        assert ("undos_are_patient" in _broken(_with(order, interventions=[one]))) is seen


def test_what_the_engine_broke_for_good_may_be_undone_and_nothing_else(
    order: tuple[Schedule, Result],
) -> None:
    (id,) = order[1].records
    records = {id: {**one, "outcome": "COMPENSATED"} for id, one in order[1].records.items()}
    asked = {"id": f"{id}/engine/1", "instance": id, "kind": "stuck", "reason": "-", "action": None}
    assert "as_drawn" not in _broken(_with(order, records=records, interventions=[asked]))
    broken = _broken(_with(order, records=records, interventions=[{**asked, "kind": "forged"}]))
    assert {"as_drawn", "no_needless_intervention"} <= broken


LOST = Misdelivery(item="activity", fault="lost")


@pytest.mark.parametrize(
    ("kind", "disturbances", "needless"),
    [
        ("stuck", [LOST] * 2, True),
        ("stuck", [LOST] * 3, False),
        ("stuck", [LOST, LOST, LOST.model_copy(update={"instance": "another"})], True),
        ("stuck", [StoreAway(lasts=90.0)], True),
        ("bad_deployment", [LOST] * 3, True),
        ("start_failed", [Away(lasts=400.0)] * 2, True),
        ("start_failed", [Away(lasts=700.0)], False),
        ("step_failed", [_fails("payment.charge")], False),
        ("step_failed", [_fails("signing.send")], True),
    ],
)
def test_a_person_is_asked_for_what_met_this_instance_often_or_long_enough(
    order: tuple[Schedule, Result], kind: str, disturbances: list[Disturbance], needless: bool
) -> None:
    schedule, result = order
    (id,) = result.records
    drawn = (*schedule.disturbances, *disturbances)
    asked = {"id": f"{id}/engine/1", "instance": id, "kind": kind, "reason": "-", "action": None}
    found = judge(
        schedule.model_copy(update={"disturbances": drawn}),
        replace(result, fired=[1] * len(drawn), interventions=[asked]),
    )
    assert ("no_needless_intervention" in _broken(found)) is needless


@pytest.mark.parametrize("times", [0, 1])
def test_what_never_fired_excuses_nothing(times: int) -> None:
    assert strain(Schedule(disturbances=(LOST,)), [times]).damaged == times


@pytest.mark.parametrize(
    ("kind", "lasts", "needless"),
    [
        ("engine_stalled", 400.0, True),
        ("engine_stalled", 700.0, False),
        ("bad_deployment", 700.0, True),
    ],
)
def test_what_is_asked_about_all_is_judged_too(
    order: tuple[Schedule, Result], kind: str, lasts: float, needless: bool
) -> None:
    schedule, result = order
    drawn = (*schedule.disturbances, Away(lasts=lasts))
    asked = {"id": "engine/1", "instance": "-", "kind": kind, "reason": "-", "action": None}
    found = judge(
        schedule.model_copy(update={"disturbances": drawn}),
        replace(result, fired=[1] * len(drawn), interventions=[asked]),
    )
    assert (Broken("-", "no_needless_intervention", f"engine/1 ({kind}): -") in found.broken) is (
        needless
    )


def test_who_waits_for_a_person_is_not_late_and_a_deployment_may_be_given_up() -> None:
    end = 72 * HOUR
    lost = LOST.model_copy(update={"at": end + 50})
    broken = [Misdelivery(item="turn", fault="failed", at=end, nth=nth) for nth in (1, 2)]
    (asked,) = judged(
        plot("approval-expired", "/approvals", PRESS), disturbances=(*broken, lost)
    ).interventions
    assert asked["kind"] == "stuck"
    broken = [Misdelivery(item="turn", fault="failed", nth=nth) for nth in (3, 4, 5)]
    given_up = judged(plot("deployment-quick", "/deployments", MODEL), disturbances=(*broken,))
    assert [one["outcome"] for one in given_up.records.values()] == ["ROLLED_BACK"]


def test_a_step_is_missing_that_a_person_was_notified_of_and_a_deadline_begins_when_asked() -> None:
    away = {"match": {"operation": "notifier.send"}, "then": {"status": 429}}
    order, asked = (
        plot("order-quick", "/orders", shop_order("order-quick.0")),
        plot("approval-expired", "/approvals", PRESS),
    )
    result = judged(order, asked, disturbances=(Script(rule=away, at=0.5, lasts=780.0),))
    assert result.records[order.id]["outcome"] == "FULFILLED"
    notifications = [one["detail"].get("template") for one in result.effects]
    assert "order_confirmed" not in notifications
    assert result.records[asked.id]["outcome"] == "TIMED_OUT"


def test_nobody_decides_on_what_is_not_there_yet() -> None:
    drawn = plot("approval-rejected", "/approvals", PRESS)
    decision = {"event_id": "no", "approved": False}
    drawn.call(20, f"/approvals/{drawn.id}/decision", decision, subject="a-1", roles=("approver",))
    result = judged(drawn, disturbances=(StoreAway(at=0.5, lasts=40.0),))
    assert result.records[drawn.id]["outcome"] == "REJECTED"


def test_what_nobody_answered_is_unknown_and_not_kept(order: tuple[Schedule, Result]) -> None:
    answers = [replace(one, status=0) for one in order[1].answers]
    judgement = _with(order, answers=answers)
    assert judgement.unknown
    assert not judgement.kept


def test_a_disturbance_that_did_not_fire_is_said(order: tuple[Schedule, Result]) -> None:
    schedule, result = order
    crash = Crash(at=1, point="commit", nth=9_999)
    more = schedule.model_copy(update={"disturbances": (*schedule.disturbances, crash)})
    judgement = judge(more, replace(result, fired=[*result.fired, 0]))
    assert judgement.unfired == (len(schedule.disturbances),)


def test_nothing_judged_is_not_kept() -> None:
    assert not judge(Schedule(), Result()).kept


@pytest.mark.parametrize(("lasts", "needless"), [(30.0, True), (55.0, False)])
def test_a_deployment_has_five_tries_of_a_step_and_no_more(lasts: float, needless: bool) -> None:
    away = Script(
        rule={"match": {"operation": "ml.train"}, "then": {"status": 503}}, at=0.5, lasts=lasts
    )
    drawn = plot("deployment-quick", "/deployments", MODEL)
    result = judged(drawn, disturbances=(away,))
    assert (result.interventions == []) is needless
