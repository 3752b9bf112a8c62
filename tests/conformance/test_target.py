"""Steadfast's own target: what it declares is what application and witness understand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from conformance.plan.contract import WorkflowPath, load
from conformance.plan.patterns import operation
from conformance.plan.placeholders import environment, fill, make_secrets
from downstream.config import load as load_providers
from downstream.script import NewRule
from workflows import WORKFLOWS

ROOT = Path(__file__).parents[2]
TARGET = load(ROOT / "target.toml")
PROVIDERS = load_providers(ROOT / TARGET.witness.config)
PATHS = {path.name: path for path in TARGET.paths()}
STARTS = {workflow.kind: workflow.request or workflow.input for workflow in WORKFLOWS}
NAMED = {
    **dict.fromkeys(("app", "sidecar", "witness", "witness_direct"), "http://127.0.0.1:1"),
    **dict.fromkeys(TARGET.values, "token"),
    "id": "instance-1",
    "api_token": "token",
}


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> WorkflowPath:
    return PATHS[request.param]


def test_every_kind_of_workflow_has_paths() -> None:
    assert {path.workflow for path in PATHS.values()} == set(STARTS)


def test_the_start_is_one_that_the_application_accepts(path: WorkflowPath) -> None:
    body = fill(path.start.body, NAMED)
    started = STARTS[path.workflow].model_validate(body)
    assert started.model_dump()["id"] == "instance-1"


def test_every_rule_is_one_that_the_witness_accepts(path: WorkflowPath) -> None:
    for declared in fill(path.script, NAMED):
        rule = NewRule.model_validate(declared)
        assert rule.complaint(PROVIDERS) is None


def test_every_effect_is_one_of_the_witness(path: WorkflowPath) -> None:
    named = [effect for ending in path.endings for effect in ending.effects]
    for effect in (*named, *path.alerts):
        assert PROVIDERS.find(operation(effect)) is not None, effect


def test_every_placeholder_is_filled(path: WorkflowPath) -> None:
    requests = [path.start, *(each for signal in path.signals for each in signal.requests)]
    for request in requests:
        fill(request.model_dump(), NAMED)
    fill([path.look.url, path.look.headers], NAMED)
    for signal in path.signals:
        if signal.callback:
            fill(signal.callback.model_dump(), NAMED)


def test_every_signal_but_of_the_witness_waits_for_the_instance(path: WorkflowPath) -> None:
    for signal in path.signals:
        told = [r for r in signal.requests if not r.url.startswith("{witness}")]
        assert signal.when or signal.after or not (told or signal.callback)


def test_every_callback_has_an_id_of_its_own(path: WorkflowPath) -> None:
    ids = [signal.callback.event_id for signal in path.signals if signal.callback]
    assert all(id and "{id}" in id for id in ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_the_environment_is_one_that_the_application_starts_with(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, Any] = {
        **dict.fromkeys(("host", "sidecar_host", "sidecar_http_host"), "127.0.0.1"),
        **dict.fromkeys(("port", "sidecar_http_port", "sidecar_grpc_port"), "8000"),
        "data": "/data",
        "witness": "http://127.0.0.1:1",
        "postgres": "user:password@127.0.0.1:5432/database",
        "api_token": "token",
        "webhook_secret": "secret",
        **make_secrets(TARGET),
    }
    for name, value in environment(TARGET, store, {}, known).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.database_url.startswith(store)
    assert list(settings.jwt_keys) == ["suite"]


def test_the_longest_id_of_the_suite_is_one_that_the_application_accepts() -> None:
    # <tag>-<mutant>-<batch>-<number>, and ids may have 80 characters.
    longest = max(len(file.stem) for file in (ROOT / "conformance" / "mutants").glob("*.patch"))
    assert len("c000000--0000-0000") + longest <= 80
