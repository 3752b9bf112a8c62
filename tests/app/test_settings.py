"""A setting that is wrong is one line, and no traceback; what it was set to is shown to nobody."""

from __future__ import annotations

import pytest

from app.settings import from_environment

SECRET = '{"payment": ["too short"], "carrier": []}'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STEADFAST_PORT", "a port of mine"),
        ("STEADFAST_WEBHOOK_SECRETS", SECRET),
        ("STEADFAST_JWT_KEYS", "{no json"),
        ("STEADFAST_STORE_TIMEOUT", "-17"),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_not_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEADFAST_WEBHOOK_SECRETS", "{}")
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        from_environment()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert all(line.startswith(name) for line in said.splitlines())
    assert said
    assert value not in said
    assert "too short" not in said
