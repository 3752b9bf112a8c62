"""`dapr run -f .`: what dapr.yaml gives the application is enough; its providers know it too."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from app.settings import Settings
from launcher.settings import ROOT


@pytest.fixture
def apps() -> dict[str, dict[str, Any]]:
    apps = yaml.safe_load((ROOT / "dapr.yaml").read_text())["apps"]
    return {app["appID"]: app for app in apps}


def test_a_user_gets_in_and_decides(
    apps: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in apps["steadfast"]["env"].items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.jwt_keys
    assert settings.decision_key.get_secret_value()
    assert set(settings.webhook_secrets) == {"carrier", "payment", "signing", "warehouse"}


def test_the_providers_sign_with_the_secrets_that_are_expected(
    apps: dict[str, dict[str, Any]],
) -> None:
    expected = json.loads(apps["steadfast"]["env"]["STEADFAST_WEBHOOK_SECRETS"])
    known = json.loads(apps["downstream"]["env"]["DOWNSTREAM_WEBHOOK_SECRETS"])
    assert {source: [secret] for source, secret in known.items()} == expected
    port = Settings.model_fields["port"].default
    assert apps["downstream"]["env"]["DOWNSTREAM_WEBHOOK_URL"] == f"http://127.0.0.1:{port}"
