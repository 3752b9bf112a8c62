"""Histories of real runs, driven through today's code; and code that would leave their path."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import replay
from app.cli import _replay
from workflows import VERSIONS, Version
from workflows.messages import RetryRule
from workflows.order_fulfilment import CHARGE, RESERVE, SHIP, STEPS, Order
from workflows.saga import Saga

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_todays_code_takes_the_recorded_path(path: Path) -> None:
    assert replay.replay(path) is None


def history(name: str) -> Path:
    return next(path for path in HISTORIES if path.stem == name)


def edited(function: Any) -> tuple[Version, ...]:
    return tuple(
        replace(version, function=function) if version.kind == "order_fulfilment" else version
        for version in VERSIONS
    )


def swapped(ctx: Any, order: Order) -> Generator[Any, Any, str]:
    """Two steps swapped without a patch."""
    saga = Saga(ctx, order.id, STEPS, RetryRule())
    yield from saga.begin()
    yield from saga.step(CHARGE, {})
    yield from saga.step(SHIP, {})
    yield from saga.step(RESERVE, {})
    return "FULFILLED"


def shortened(ctx: Any, order: Order) -> Generator[Any, Any, str]:
    """Steps left out at the end."""
    saga = Saga(ctx, order.id, STEPS, RetryRule())
    yield from saga.begin()
    yield from saga.step(CHARGE, {})
    return "FULFILLED"


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
    renamed = tuple(replace(version, name="v9") for version in VERSIONS)
    divergence = replay.replay(history("waiting"), renamed)
    assert divergence is not None
    assert "VersionNotRegistered" in str(divergence)


def test_the_command_says_how_many(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _replay([HISTORIES[0].parent]) == 0
    assert f"{len(HISTORIES)} histories replayed, 0 diverged" in capsys.readouterr().out
    assert _replay([tmp_path]) == 2
