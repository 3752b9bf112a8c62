"""Durable workflows: pure generators. No I/O, clock, randomness or environment lives here.

Every workflow is registered as a versioned type from its first day, so that a change of its
steps is a new version and instances under way finish on the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from workflows import model_deployment, order_fulfilment, task_processing

WorkflowFunction = Callable[[Any, Any], Generator[Any, Any, str]]


@dataclass(frozen=True)
class Version:
    """One registered version of a workflow type."""

    kind: str
    name: str
    function: WorkflowFunction
    latest: bool


VERSIONS: tuple[Version, ...] = (
    Version("order_fulfilment", "v1", order_fulfilment.order_fulfilment, latest=True),
    Version("task_processing", "v1", task_processing.task_processing, latest=True),
    Version("model_deployment", "v1", model_deployment.model_deployment, latest=True),
)
