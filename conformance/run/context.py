"""What all batches of a run share."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.clients import GateClient, WitnessClient
from conformance.clusters import Cluster
from conformance.events import Listener
from conformance.judge.verdict import Check


@dataclass(frozen=True)
class RunContext:
    """A running cluster, what is judged there, and where events go.

    `undoes` maps undo operations to what they undo, `sibling_outcomes` workflows to the outcomes of
    all their paths; `patience` is how many seconds a sidecar may be without a worker before it is
    taken for wedged; `repeat` is the command line that runs the same again.
    """

    cluster: Cluster
    gate: GateClient
    witness: WitnessClient
    emit: Listener
    tag: str
    promises: Mapping[str, Check]
    undoes: Mapping[str, str]
    sibling_outcomes: Mapping[str, frozenset[str]]
    patience: float
    repeat: str
    mutant: str | None = None
    numbers: itertools.count[int] = field(default_factory=itertools.count)
