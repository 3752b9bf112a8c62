"""What a target says of itself: read, checked, filled, and refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.plan import contract, placeholders
from conformance.plan.contract import Ending, PathSpec, Signal, TargetError
from conformance.plan.json_pointer import resolve

GOOD = """
name = "mine"
app_id = "mine"
[app]
command = ["{python}", "app.py"]
[witness]
config = "providers.toml"
[look]
url = "{app}/{id}"
ended = { "/status" = "ENDED" }
outcome = "/outcome"
[[workflows]]
name = "order"
start = { url = "{app}/orders", body = { id = "{id}", amount = 5 } }
[[workflows.paths]]
name = "done"
endings = [{ outcome = "DONE", effects = ["bank.debit"] }]
[[workflows.paths]]
name = "big"
body = { amount = 9 }
settles = 7
endings = [{ outcome = "DONE" }]
"""


def load(text: str, folder: Path) -> contract.Target:
    file = folder / "target.toml"
    file.write_text(text)
    return contract.load(file)


def test_a_path_has_what_its_workflow_and_its_target_say(tmp_path: Path) -> None:
    done, big = load(GOOD, tmp_path).paths()
    assert (done.name, done.settles, done.start.body) == (
        "order/done",
        60,
        {"id": "{id}", "amount": 5},
    )
    assert (big.settles, big.start.body) == (7, {"id": "{id}", "amount": 9})


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "mine"', 'name = "mine', "line 2"),
        ('app_id = "mine"', "", "app_id: Field required"),
        ("settles = 7", "settles = 0", "workflows.0.paths.1.settles: .*greater than 0"),
        ("settles = 7", "setles = 7", "workflows.0.paths.1.setles: Extra inputs"),
        ('name = "big"', 'name = "done"', "paths that occur twice: order/done"),
        ('name = "big"', 'name = "Big one"', "workflows.0.paths.1.name: .*pattern"),
        ('endings = [{ outcome = "DONE" }]', "endings = []", "endings: .*at least 1"),
        ("[look]", "[witness.look]", "witness.look: Extra inputs"),
        ('["{python}", "app.py"]', "[]", "app.command: .*at least 1"),
    ],
)
def test_a_target_that_makes_no_sense_is_said(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(TargetError, match=rf"target\.toml:(?s:.*){complaint}"):
        load(GOOD.replace(old, new), tmp_path)


def test_a_target_without_a_look_is_said(tmp_path: Path) -> None:
    begin, end = GOOD.index("[look]"), GOOD.index("[[workflows]]")
    with pytest.raises(TargetError, match="order has no look, nor has the target"):
        load(GOOD[:begin] + GOOD[end:], tmp_path)
    with pytest.raises(TargetError, match=r"no such file.*conformance init"):
        contract.load(tmp_path / "nothing.toml")


def test_a_signal_is_either_requests_or_a_callback() -> None:
    with pytest.raises(ValueError, match="either requests or a callback"):
        Signal(after="debit")
    path = PathSpec(name="done", endings=(Ending(outcome="DONE"),))
    assert path.signals == ()


def test_placeholders_are_filled_wherever_they_stand() -> None:
    value = {"{id}": ["{app}/{id}", {"n": 1, "json": '{"a": 1}'}], "none": None}
    assert placeholders.fill(value, {"id": "i", "app": "http://a"}) == {
        "i": ["http://a/i", {"n": 1, "json": '{"a": 1}'}],
        "none": None,
    }
    with pytest.raises(TargetError, match=r"there is no placeholder \{idd\}; there are app, id"):
        placeholders.fill("{idd}", {"id": "i", "app": "a"})


def test_a_secret_is_made_for_every_name_and_is_the_same_everywhere(tmp_path: Path) -> None:
    text = GOOD.replace(
        "[app]\ncommand", '[app]\nenv = { A = "{secret:k}", B = "{secret:k}" }\ncommand'
    )
    target = load(text, tmp_path)
    made = placeholders.make_secrets(target)
    assert list(made) == ["secret:k"]
    found = placeholders.environment(target, "sqlite", {"C": "{secret:k}"}, made)
    assert set(found) == {"A", "B", "C"}
    assert len(set(found.values())) == 1


def test_a_database_that_the_target_does_not_know_is_refused(tmp_path: Path) -> None:
    databases = '[app.databases.sqlite]\nDB = "a"\n[app.databases.postgres]\nDB = "b"\n[witness]'
    target = load(GOOD.replace("[witness]", databases, 1), tmp_path)
    assert placeholders.environment(target, "postgres", {}, {}) == {"DB": "b"}
    with pytest.raises(TargetError, match="nothing for redis: choose --database sqlite or postgr"):
        placeholders.environment(target, "redis", {}, {})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", {"a": {"b/c": [1, {"d~e": None}]}, "out": '{"x": [2]}', "text": "{"}),
        ("/a/b~1c/0", 1),
        ("/a/b~1c/1/d~0e", None),
        ("/a/b~1c/2", None),
        ("/a/b~1c/x", None),
        ("/nothing/at/all", None),
        ("/out/x/0", 2),
        ("/text/x", None),
    ],
)
def test_a_pointer_leads_into_json_and_into_json_within(path: str, found: Any) -> None:
    document = {"a": {"b/c": [1, {"d~e": None}]}, "out": '{"x": [2]}', "text": "{"}
    assert resolve(document, path) == found
