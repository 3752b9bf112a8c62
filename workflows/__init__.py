"""Durable workflows: pure generators. No I/O, clock, randomness or environment lives here.

Every workflow is registered as a versioned type from its first day, so that a change of its
steps is a new version and instances under way finish on the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from workflows import (
    approval,
    document_signing,
    health_monitor,
    model_deployment,
    order_fulfilment,
    task_processing,
)
from workflows.saga import Step

WorkflowFunction = Callable[[Any, Any], Generator[Any, Any, str]]


@dataclass(frozen=True)
class Version:
    """One registered version of a workflow type."""

    kind: str
    name: str
    function: WorkflowFunction
    latest: bool
    input: type[BaseModel]
    steps: Callable[[Any], Sequence[Step]]
    hears: frozenset[str] = frozenset()  # providers whose callbacks mean something to it


VERSIONS: tuple[Version, ...] = (
    Version(
        "order_fulfilment",
        "v1",
        order_fulfilment.order_fulfilment,
        latest=True,
        input=order_fulfilment.Order,
        steps=lambda _: order_fulfilment.STEPS,
        hears=frozenset({"payment", "warehouse", "carrier"}),
    ),
    Version(
        "task_processing",
        "v1",
        task_processing.task_processing,
        latest=True,
        input=task_processing.Task,
        steps=task_processing.steps,
    ),
    Version(
        "model_deployment",
        "v1",
        model_deployment.model_deployment,
        latest=True,
        input=model_deployment.Deployment,
        steps=lambda _: model_deployment.STEPS,
    ),
    Version(
        "approval",
        "v1",
        approval.approval,
        latest=True,
        input=approval.Approval,
        steps=lambda _: (),
    ),
    Version(
        "document_signing",
        "v1",
        document_signing.document_signing,
        latest=True,
        input=document_signing.Document,
        steps=lambda _: document_signing.STEPS,
        hears=frozenset({"signing"}),
    ),
    Version(
        "health_monitor",
        "v1",
        health_monitor.health_monitor,
        latest=True,
        input=health_monitor.Monitor,
        steps=lambda _: (),
    ),
)


def latest(kind: str) -> Version:
    """The version that new instances of a kind run."""
    return next(version for version in VERSIONS if version.kind == kind and version.latest)
