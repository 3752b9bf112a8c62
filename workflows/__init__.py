"""Durable workflows: pure generators. No I/O, clock, randomness or environment lives here.

Every workflow is registered as a versioned type from its first day, so that a change of its
steps is a new version and instances under way finish on the old one.
"""

from __future__ import annotations

from workflows import (
    approval,
    document_signing,
    health_monitor,
    model_deployment,
    order_fulfilment,
    task_processing,
)
from workflows.definition import Version, function

__all__ = ["VERSIONS", "Version", "function", "latest", "of_record"]

VERSIONS: tuple[Version, ...] = (
    order_fulfilment.V1,
    task_processing.V1,
    model_deployment.V1,
    approval.V1,
    document_signing.V1,
    health_monitor.V1,
)


def latest(kind: str) -> Version:
    """The version that new instances of a kind run."""
    return next(version for version in VERSIONS if version.kind == kind and version.latest)


def of_record(kind: str, name: str | None) -> Version:
    """The version that an instance took when it began, or would take if it began now."""
    known = (each for each in VERSIONS if each.kind == kind and each.name == name)
    return next(known, None) or latest(kind)
