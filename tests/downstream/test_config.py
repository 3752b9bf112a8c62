"""Declarations: what ours say, and what is refused."""

from pathlib import Path

import pytest

from downstream.__main__ import parse
from downstream.config import ConfigError, load
from tests.downstream.kit import PROVIDERS, in_process


def test_ours_declare_every_operation_of_the_design() -> None:
    ours = load(PROVIDERS)
    expected = {
        "approval": {"execute"},
        "carrier": {"create_shipment", "cancel_shipment"},
        "directory": {
            "create_record",
            "delete_record",
            "reserve_capacity",
            "release_capacity",
            "update_dashboard",
        },
        "inventory": {"reserve", "release"},
        "ml": {
            "generate_data",
            "train",
            "push_artifact",
            "delete_artifact",
            "create_config",
            "delete_config",
            "authorize",
            "restore_version",
            "check_canary",
        },
        "notifier": {"send"},
        "payment": {"charge", "refund"},
        "signing": {"send", "void"},
    }
    for service, operations in expected.items():
        for operation in operations:
            assert ours.find(f"{service}.{operation}"), operation
    assert ours.undone_by("ml.restore_version") == "ml.authorize"
    for name in ("notifier.send", "directory.update_dashboard"):
        assert ours.undone_by(name) == name


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[operations", "line 1|at end of document"),
        ('[operations."payment"]', "operations.payment"),
        ('[operations."a.b"]\nundoo = "a.c"', "operations.a.b.undoo: Extra inputs"),
        ('[operations."a.b"]\nfields = {"x..y" = "string"}', "'x..y' is not a path"),
        ('[operations."a.b"]\nfields = {x = "strnig"}', "operations.a.b.fields.x"),
        ('[operations."ledger.b"]', "ledger.b: the witness answers"),
        ('[operations."a.b"]\nundo = "a.d"\n[operations."a.c"]\nundo = "a.d"', "undo of two"),
        ('[operations."a.b"]\nundo = "a.c"\n[operations."a.c"]\nundo = "a.d"', "is an undo"),
        ('[operations."a.b"]\nundo = "a.b"\n[operations."a.c"]\nundo = "a.b"', "undo of two"),
        ('[operations."registers.b"]', "registers.b: the witness answers"),
        ('[operations."a.b"]\nregister = {name = "x", value = "y"}', "x is in a register"),
        (
            '[operations."a.b"]\nfields = {"l[].x" = "string"}\n'
            'register = {name = "l[].x", value = "y"}',
            "is in a register",
        ),
        (
            '[operations."a.b"]\nundo = "a.c"\n[operations."a.c"]\n'
            'fields = {x = "string"}\nregister = {name = "x", value = "x"}',
            "is an undo",
        ),
        ('[operations."a.b"]\nrules = [{refuse = "x", pending = {}}]', "neither pending nor"),
        ('[operations."a.b"]\nrules = [{events = [{type = "settled"}]}]', "occurs twice"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load(file)


async def test_another_target_brings_its_own(tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(
        """
        [operations."hotel.book"]
        undo = "hotel.cancel"
        rules = [{ when = { suite = true, nights = 1 }, refuse = "too_short", status = 400 }]
        """
    )
    async with in_process(tmp_path, config=file) as witness:
        refused = await witness.do("hotel.book", "trip-1/book", {"suite": True, "nights": 1})
        assert (refused.status_code, refused.json()["reason"]) == (400, "too_short")
        await witness.do("hotel.book", "trip-2/book", {"suite": 1, "nights": 1})
        undo = await witness.do("hotel.cancel", "trip-2/cancel", {"undoes": "trip-2/book"})
        assert undo.json()["result"] == "applied"


def test_flags_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOWNSTREAM_DATA", "from-variable")
    monkeypatch.setenv("DOWNSTREAM_WEBHOOK_SECRET", "secret")
    monkeypatch.setenv("DOWNSTREAM_CONFIG", "providers.toml")
    monkeypatch.setenv("DOWNSTREAM_PORT", "1")
    options = parse(["--port", "2"])
    assert (options.data, options.port, options.host) == ("from-variable", "2", "127.0.0.1")
    with pytest.raises(SystemExit):
        parse(["--port", "many"])
