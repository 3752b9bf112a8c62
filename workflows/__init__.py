"""Durable workflows: pure generators. No I/O, clock, randomness or environment lives here.

Every workflow is registered as a versioned type from its first day, so that a change of its
steps is a new version and instances under way finish on the old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workflows import (
    approval,
    document_signing,
    health_monitor,
    model_deployment,
    order_fulfilment,
    task_processing,
)
from workflows.definition import Version, function
from workflows.saga import Step

__all__ = ["VERSIONS", "Version", "function", "latest", "steps_of"]

VERSIONS: tuple[Version, ...] = (
    order_fulfilment.V1,
    task_processing.V1,
    model_deployment.V1,
    approval.V1,
    document_signing.V1,
    health_monitor.V1,
)


def latest(kind: str) -> Version:
    """The version that new instances of a kind run.

    Raises:
        LookupError: there is no such kind.
    """
    known = (version for version in VERSIONS if version.kind == kind and version.latest)
    if (found := next(known, None)) is None:
        raise LookupError("there is no such kind of workflow")
    return found


def of_record(kind: str, name: str | None) -> Version:
    """The version that an instance took when it began, or would take if it began now.

    Raises:
        LookupError: there is no such kind.
    """
    known = (each for each in VERSIONS if each.kind == kind and each.name == name)
    return next(known, None) or latest(kind)


def steps_of(record: Mapping[str, Any]) -> Sequence[Step]:
    """The steps of an instance in order, as its version has them.

    Raises:
        LookupError: there is no such kind.
        ValidationError: the input cannot be read.
    """
    version = of_record(record["kind"], record["version"])
    return version.steps(version.input.model_validate(record["input"]))
