"""Every definition is sound, and what is not sound is found before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from activities import flaws
from app import serve
from tests.support.shop import order
from workflows import WORKFLOWS, UnknownKind, latest, of_record
from workflows.definition import Late, Workflow
from workflows.order_fulfilment import CHARGE, RESERVE, Line, Order
from workflows.order_fulfilment import V1 as ORDER
from workflows.steps import Step, Undo

REFUND = Undo("refund", "payment.refund")
TALKING = replace(CHARGE, undo=replace(REFUND, body=lambda _: {"why": "late"}))
FINAL = replace(CHARGE, undo=None)
OTHER, TWICE = replace(CHARGE, name="other"), replace(CHARGE, numbered=True)
LATE_OF_MANY = {"payment.captured": Late(undoes=TWICE)}


def test_every_workflow_is_sound() -> None:
    assert len({each.kind for each in WORKFLOWS}) >= 6
    assert flaws(WORKFLOWS) == []


def test_a_kind_has_one_version_that_new_instances_run_and_one_path() -> None:
    new = [each for each in WORKFLOWS if each.latest]
    assert len({each.kind for each in new}) == len(new) == len({each.path for each in new})
    assert {each.kind for each in new} == {each.kind for each in WORKFLOWS}


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"steps": (replace(CHARGE, do="paymnt.charge"),)}, "paymnt.charge"),
        ({"steps": (replace(CHARGE, undo=Undo("refund", "payment.refnd")),)}, "payment.refnd"),
        ({"steps": (replace(CHARGE, undo=Undo("back", "inventory.release")),)}, "does not undo"),
        ({"steps": (CHARGE, replace(RESERVE, name="charge"))}, "called charge"),
        ({"steps": (CHARGE, replace(RESERVE, undo=REFUND))}, "called refund"),
        ({"others": (Step("tell", "notifier.sent"),)}, "notifier.sent"),
        ({"others": (Step("tell", "notifier.send", Undo("untell", "notifier.send")),)}, "no table"),
        ({"done": {"FULFILLED", "REFUSED"}}, "both done and undone"),
        ({"hears": {"warehouse", "carrier"}}, "payment.captured never comes"),
        ({"late": {"carrier.picked_up": Late(contradicts={"COMPENSATD"})}}, "no outcome"),
        ({"late": {"payment.captured": Late(undoes=FINAL)}, "steps": (FINAL,)}, "has no undo"),
        ({"steps": (CHARGE, replace(RESERVE, name="late_refund"))}, "nothing would be sent"),
        ({"late": {"payment.captured": Late(undoes=OTHER)}}, "no step of the table"),
        ({"late": {"payment.captured": Late(undoes=TALKING)}, "steps": (TALKING,)}, "has a body"),
        ({"steps": (TWICE, RESERVE), "late": LATE_OF_MANY}, "with one key"),
        ({"others": (Step("refund", "notifier.send"),)}, "and so of its key"),
        ({"latest": False}, "no latest version"),
        ({"audited": Step("charge", "payment.charge")}, "audited"),
    ],
)
def test_what_is_wrong_with_a_definition_is_said(change: dict[str, Any], flaw: str) -> None:
    found = flaws([replace(ORDER, **change)])
    assert any(flaw in each and each.startswith("order_fulfilment") for each in found), found


@pytest.mark.parametrize(
    ("type", "outcome", "made_of"),
    [
        ("payment.captured", "COMPENSATED", "undo"),
        ("payment.captured", "REFUSED", "undo"),
        ("payment.captured", "FULFILLED", "nothing"),
        ("payment.captured", "TERMINATED", "ask"),
        ("payment.captured", "SETTLED", "ask"),
        # Of an outcome that it does not know, a machine gives nothing back.
        ("payment.captured", "RENEWED", "ask"),
        ("payment.failed", "FULFILLED", "ask"),
        ("payment.failed", "COMPENSATED", "nothing"),
        ("carrier.picked_up", "REFUSED", "ask"),
        ("carrier.picked_up", "FULFILLED", "nothing"),
        ("warehouse.found_again", "COMPENSATED", "nothing"),
    ],
)
def test_what_is_made_of_an_event_after_the_end(type: str, outcome: str, made_of: str) -> None:
    assert ORDER.made_of(type, outcome) == made_of


def test_what_two_definitions_claim_is_said() -> None:
    other = replace(ORDER, kind="order_again", late={})
    assert flaws([ORDER, other]) == ["/orders is the path of two definitions"]
    twice = flaws([ORDER, replace(ORDER, path="/others")])
    assert "order_fulfilment is the kind of two definitions" in twice
    assert "order_fulfilment v1 is the version of two definitions" in twice


def test_an_application_with_a_flaw_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = replace(ORDER, others=(Step("tell", "notifier.sent"),))
    monkeypatch.setattr(serve, "WORKFLOWS", (wrong,))
    with pytest.raises(SystemExit) as ended:
        serve.serve()
    assert ended.value.code == 2
    assert "tell calls notifier.sent, which is no declared" in capsys.readouterr().err


def test_no_outcome_lets_money_go_that_the_definition_does_not_name() -> None:
    for workflow in WORKFLOWS:
        for type in workflow.late:
            assert workflow.made_of(type, "AN_OUTCOME_OF_ANOTHER_RELEASE") != "undo"


@pytest.mark.parametrize(
    "change",
    [
        {"lines": [{"sku": "s", "quantity": 100_001, "unit_price": 1}] * 201},
        {"retry": {"attempts": 50, "undo_for": 10**7}},
        {"currency": "euro", "customer": "", "payment_timeout": 10**9},
        {"of_another_release": True, "id": "x" * 100},
    ],
)
def test_what_another_release_accepted_is_read_by_its_types(change: dict[str, Any]) -> None:
    content = {**order("order-1"), **change}
    with pytest.raises(ValidationError):
        Order.model_validate(content)
    read = Order.accepted(content)
    assert isinstance(read, Order)
    assert isinstance(read.lines[0], Line)
    known = {name: value for name, value in change.items() if name in Order.model_fields}
    assert {name: getattr(read, name) for name in known if name not in ("lines", "retry")} == {
        name: value for name, value in known.items() if name not in ("lines", "retry")
    }
    with pytest.raises(ValidationError):
        Order.accepted({**content, "lines": "none"})


def test_a_kind_of_another_release_is_said_to_be_unknown() -> None:
    with pytest.raises(UnknownKind):
        latest("subscription")
    with pytest.raises(UnknownKind):
        of_record({"kind": "subscription", "version": "v1"})


def test_a_version_that_is_gone_is_read_as_the_newest() -> None:
    assert of_record({"kind": "order_fulfilment", "version": "v0"}) is ORDER
    old: Workflow = of_record({"kind": "order_fulfilment", "version": None})
    assert old is ORDER
