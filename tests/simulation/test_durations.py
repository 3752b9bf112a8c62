"""What takes days, at the durations that are the default, and to the second."""

from __future__ import annotations

import itertools

import pytest

from simulation.clock import EPOCH
from simulation.evidence import moment
from simulation.schedule import DAY, HOUR, Crash, Script, StoreAway
from simulation.stories.plot import APPROVER, DIRECTOR, Plot
from tests.simulation.judged import SOON, answer, effects, judged, made_at, notifications, plot
from tests.simulation.starts import PRESS
from tests.support.shop import FULFILLED, order

TRAINED = {"model": "scoring", "dataset": "d-1", "version": "v2"}
LEASE = {"title": "lease", "requester": "c-17", "signers": ["s-1", "s-2"]}
ESCALATED, EXPIRED = 48 * HOUR, 72 * HOUR  # after the approval was asked for


def an_approval(story: str) -> Plot:
    return plot(story, "/approvals", PRESS)


def decide(drawn: Plot, at: float, approved: bool, who: dict[str, object]) -> None:
    """A decision that is made at a moment of the simulation, to the millisecond."""
    body = {"event_id": f"{drawn.id}-{who['subject']}", "approved": approved}
    drawn.call(at - drawn.begins, f"/approvals/{drawn.id}/decision", body, **who)


def seconds(date: str) -> float:
    return moment(date) - EPOCH


@pytest.fixture(scope="module")
def due() -> tuple[float, float]:
    """When the approval is escalated, and when it expires, as people are shown it."""
    drawn = an_approval("approval-expired")
    drawn.query(HOUR)
    drawn.query(ESCALATED + HOUR)
    result = judged(drawn)
    return (
        seconds(result.answers[1].body["due_at"]),
        seconds(result.answers[2].body["due_at"]),
    )


def test_what_an_approval_shows_as_due_is_48_and_72_hours_after_it_was_asked_for(
    due: tuple[float, float],
) -> None:
    assert ESCALATED <= due[0] - 1.0 < ESCALATED + SOON
    assert EXPIRED <= due[1] - 1.0 < EXPIRED + SOON


def test_an_approval_that_nobody_decides_is_escalated_and_expires_when_it_is_due(
    due: tuple[float, float],
) -> None:
    drawn = an_approval("approval-expired")
    result = judged(drawn)
    assert 0 <= made_at(result, f"{drawn.id}/notify_director/1") - due[0] < SOON
    assert 0 <= made_at(result, f"{drawn.id}/notify") - due[1] < SOON
    assert notifications(result) == ["please_decide", "please_decide", "approval_timed_out"]
    assert "approval.execute" not in effects(result)
    assert result.records[drawn.id]["outcome"] == "TIMED_OUT"


@pytest.mark.parametrize(("after", "status"), [(-1.0, 200), (1.0, 403)])
def test_an_approver_decides_until_it_is_escalated_and_not_after(
    after: float, status: int, due: tuple[float, float]
) -> None:
    story = "approval-approved" if status == 200 else "approval-expired"
    drawn = an_approval(story)
    decide(drawn, due[0] + after, True, APPROVER)
    result = judged(drawn)
    assert answer(result, drawn, -1) == status
    assert ("approval.execute" in effects(result)) is (status == 200)
    escalated = notifications(result).count("please_decide") == 2
    assert escalated is (status == 403)


@pytest.mark.parametrize(("after", "status"), [(-1.0, 200), (1.0, 409)])
def test_the_director_decides_until_it_expires_and_not_after(
    after: float, status: int, due: tuple[float, float]
) -> None:
    drawn = an_approval("approval-escalated" if status == 200 else "approval-expired")
    decide(drawn, due[1] + after, True, DIRECTOR)
    result = judged(drawn)
    assert answer(result, drawn, -1) == status
    assert ("approval.execute" in effects(result)) is (status == 200)
    last = "approval_approved" if status == 200 else "approval_timed_out"
    assert notifications(result) == ["please_decide", "please_decide", last]


@pytest.mark.parametrize(
    ("which", "who", "refusal"), [("escalated", APPROVER, 403), ("expired", DIRECTOR, 409)]
)
def test_a_decision_at_the_very_moment_counts_or_is_refused_and_the_answer_is_true(
    which: str, who: dict[str, object], refusal: int, due: tuple[float, float]
) -> None:
    drawn = an_approval("approval-last-moment")
    decide(drawn, due[which == "expired"], True, who)
    at, seen = drawn.calls[-1].at, set()
    for late, seed in itertools.product((0.0, 0.03), range(6)):
        drawn.calls[-1] = drawn.calls[-1].model_copy(update={"at": at + late})
        result = judged(drawn, seed=seed)
        status = answer(result, drawn, -1)
        assert ("approval.execute" in effects(result)) is (status == 200)
        last = "approval_approved" if status == 200 else "approval_timed_out"
        assert notifications(result)[-1] == last
        seen.add(status)
    assert seen == {200, refusal}, "either may be first"


def test_a_document_waits_for_thirty_days_reminds_each_week_and_is_voided() -> None:
    drawn = plot("document-expired", "/documents", LEASE)
    result = judged(drawn)
    sent = made_at(result, f"{drawn.id}/send")
    for week in (1, 2, 3, 4):
        for signer in (1, 2):
            late = made_at(result, f"{drawn.id}/remind/{week}/{signer}") - sent - week * 7 * DAY
            assert 0 <= late < SOON
    assert 0 <= made_at(result, f"{drawn.id}/void") - sent - 30 * DAY < SOON
    assert notifications(result) == ["please_sign"] * 8 + ["document_expired"]
    assert effects(result)[-2:] == ["signing.void", "notifier.send"]
    assert result.interventions == []


def an_order(story: str, **changes: object) -> Plot:
    drawn = plot(story, "/orders", {})
    drawn.calls[0] = drawn.calls[0].model_copy(update={"body": order(drawn.id, **changes)})
    return drawn


def test_a_payment_that_is_captured_two_days_late_is_an_order_over_kills() -> None:
    drawn = an_order("order-captured", payment_method="pm-pending")
    drawn.later("payment.charge", payment__captured=2 * DAY)
    kills = tuple(Crash(replica=n % 2, at=n * 6 * HOUR, down=20.0) for n in range(1, 9))
    result = judged(drawn, disturbances=kills)
    assert effects(result) == FULFILLED
    assert 0 <= made_at(result, f"{drawn.id}/charge") - drawn.begins - 2 * DAY < SOON
    assert 0 <= made_at(result, f"{drawn.id}/reserve") - drawn.begins - 2 * DAY < 60
    assert result.interventions == []
    assert result.counts["started"] == 1


UNDONE = [
    "payment.charge",
    "inventory.reserve",
    "carrier.create_shipment",
    "notifier.send",
    "carrier.cancel_shipment",
    "inventory.release",
]


@pytest.mark.parametrize("lasts", [13 * 60.0, DAY])
def test_while_nobody_refunds_nobody_is_asked_and_then_it_is_refunded_once(lasts: float) -> None:
    lost = [{"sku": "SKU-LOST", "quantity": 2, "unit_price": 1999}]
    drawn = an_order("order-lost", lines=lost)
    rule = {"match": {"operation": "payment.refund"}, "then": {"status": 503}}
    result = judged(drawn, disturbances=(Script(rule=rule, lasts=lasts),))
    assert effects(result) == [*UNDONE, "payment.refund", "notifier.send"]
    assert notifications(result)[-1] == "order_compensated"
    assert made_at(result, f"{drawn.id}/refund") >= lasts
    assert made_at(result, f"{drawn.id}/refund") < lasts + HOUR + SOON
    assert result.interventions == []
    assert result.counts["started"] == 1


@pytest.mark.parametrize("lasts", [300.0, HOUR / 2])
def test_a_long_training_outlives_outages_of_the_store_and_nobody_runs_it_again(
    lasts: float,
) -> None:
    drawn = plot("deployment-hours", "/deployments", TRAINED)
    settles = {"settle": "applied", "after": 12 * HOUR, "heartbeat": True}
    drawn.script("ml.train", {"pending": settles})
    outages = tuple(StoreAway(at=n * HOUR, lasts=lasts) for n in (1, 3, 5, 7))
    result = judged(drawn, disturbances=outages)
    assert result.interventions == []
    assert result.counts["started"] == 1
