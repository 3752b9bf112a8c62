"""Histories of real runs, driven through today's code; and code that would leave their path."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import replay
from app.cli import _replay
from workflows import WORKFLOWS, Workflow
from workflows.instance import End
from workflows.order_fulfilment import CHARGE, RESERVE, SHIP, Order
from workflows.saga import Saga

FOLDER = Path(__file__).parent / "histories"
# What was recorded before the last change of a path, and may be under way, beside what is now.
HISTORIES = sorted(FOLDER.rglob("*.json"))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_todays_code_takes_the_recorded_path(path: Path) -> None:
    assert replay.replay(path) is None


def history(name: str) -> Path:
    return FOLDER / f"{name}.json"


def edited(function: Any) -> tuple[Workflow, ...]:
    return tuple(
        replace(workflow, body=function) if workflow.kind == "order_fulfilment" else workflow
        for workflow in WORKFLOWS
    )


def swapped(saga: Saga, order: Order) -> Generator[Any, Any, End]:
    """Two steps swapped without a patch."""
    yield from saga.step(CHARGE, {})
    yield from saga.step(SHIP, {})
    yield from saga.step(RESERVE, {})
    return End("FULFILLED")


def shortened(saga: Saga, order: Order) -> Generator[Any, Any, End]:
    """Steps left out at the end."""
    yield from saga.step(CHARGE, {})
    return End("FULFILLED")


def test_two_swapped_steps_are_named() -> None:
    divergence = replay.replay(history("fulfilled"), edited(swapped))
    assert divergence is not None
    assert "inventory.reserve (fulfilled/reserve)" in str(divergence)
    assert "carrier.create_shipment" in str(divergence)


@pytest.mark.parametrize("name", ["fulfilled", "waiting"])
def test_missing_steps_are_named(name: str) -> None:
    divergence = replay.replay(history(name), edited(shortened))
    assert divergence is not None
    assert f"inventory.reserve ({name}/reserve)" in str(divergence)


def test_a_version_that_is_gone_is_named() -> None:
    renamed = tuple(replace(workflow, version="v9") for workflow in WORKFLOWS)
    divergence = replay.replay(history("waiting"), renamed)
    assert divergence is not None
    assert "not registered" in str(divergence) or "VersionNotRegistered" in str(divergence)


def test_the_command_says_how_many(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _replay([FOLDER, FOLDER / "before-real-durations"]) == 0
    assert f"{len(HISTORIES)} histories replayed, 0 diverged" in capsys.readouterr().out
    assert _replay([tmp_path]) == 2
