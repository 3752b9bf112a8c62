"""What a kind of fault is: where it can be injected, how, and what proves that it happened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from conformance.clients import GateClient
from conformance.clusters import Cluster
from conformance.errors import ConformanceError
from conformance.gates.rules import InFlightPolicy
from conformance.plan import injection
from conformance.plan.contract import WorkflowPath
from conformance.plan.injection import Injection
from conformance.plan.points import MeasuredPath, Point
from conformance.topology import Victim

Included = Literal["matrix", "all", "named"]


class FaultNotProven(ConformanceError):
    """A fault that was injected did not show; what it was to hit is unknown."""


class FaultKind(ABC):
    """Something that can go wrong. The docstring of a subclass is its reference.

    `victims` are whom it can happen to; with each of them it is a fault, written `victim:name`, and
    `alias` is another way to write the fault of a kind with one victim. `included` says which
    choice of faults it is part of: `matrix` (and all), `all`, or only where it is `named`.
    """

    name: ClassVar[str]
    victims: ClassVar[tuple[str, ...]]
    alias: ClassVar[str | None] = None
    included: ClassVar[Included] = "all"

    def points(self, path: MeasuredPath) -> list[Point]:
        """The points of a path at which it makes sense; by default, all."""
        return list(path.points)

    @abstractmethod
    def arm(self, point: Point, path: WorkflowPath, instance: str) -> Injection:
        """What makes one instance meet it at a point; see `conformance.plan.injection`."""


@dataclass(frozen=True)
class Scene:
    """What a fault is injected into. `release` lets go of what gate and witness hold."""

    cluster: Cluster
    gate: GateClient | None
    victim: Victim
    release: Callable[[], Awaitable[None]]


class HeldFault(FaultKind):
    """A fault of a process or its links: all instances are held at their points, and it hits all.

    When it is over, the run waits until everything is ready, and goes on.
    """

    def arm(self, point: Point, path: WorkflowPath, instance: str) -> Injection:
        """Holds the instance."""
        return injection.hold(point, path, instance)

    def in_flight(self, victim: str) -> InFlightPolicy:
        """What becomes of the messages that the gate holds: by default they are only late.

        Where the gate itself breaks a connection, it loses what is held on it. What is held by the
        time of the release came again and over a link that is whole.
        """
        return InFlightPolicy()

    @abstractmethod
    async def inject(self, scene: Scene) -> str:
        """Does it, awaits `scene.release()` at the moment that belongs to it, and undoes it.

        Returns:
            What shows that it happened.

        Raises:
            FaultNotProven: nothing shows that it happened; it is undone all the same.
            ClusterError: the cluster does not obey.
        """


class WitnessFault(FaultKind):
    """A fault of a provider's answer: the first attempt of each effect meets it.

    `then` is what the witness does with that request.
    """

    victims = ("witness",)
    then: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls) -> None:
        cls.alias = f"outage:{cls.name}"

    def points(self, path: MeasuredPath) -> list[Point]:
        """Before each effect."""
        return path.effects

    def arm(self, point: Point, path: WorkflowPath, instance: str) -> Injection:
        """A rule of the witness."""
        return injection.at_witness(point, path, instance, self.then)
