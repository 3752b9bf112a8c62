"""The faults: one file each, whose class says to whom it can happen and its docstring what it is.

To add one, write a subclass of `kind.HeldFault`, `link.LinkFault`, `kind.WitnessFault` or
`kind.FaultKind`, and name it below, or as an entry point of the group `conformance.faults`. The
command line, the matrix and `conformance faults` know it then.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache

from conformance import extensions
from conformance.errors import ExtensionError
from conformance.faults.cut import Cut
from conformance.faults.duplicate import Duplicate
from conformance.faults.http_5xx import Http5xx
from conformance.faults.kill import Kill
from conformance.faults.kind import FaultKind
from conformance.faults.lost import Lost
from conformance.faults.none import NoFault
from conformance.faults.pause import Pause
from conformance.faults.refused import Refused
from conformance.faults.reset import Reset
from conformance.faults.slow import Slow
from conformance.faults.stop import Stop
from conformance.faults.timeout import Timeout
from conformance.plan.scenario import Fault, ScenarioError, split
from conformance.topology import VICTIMS

__all__ = [
    "GROUP",
    "everything",
    "kind_of",
    "kinds",
    "matrix",
    "parse",
    "parse_scenario",
    "reference",
]

GROUP = "conformance.faults"
OURS: tuple[type[FaultKind], ...] = (
    Kill,
    Pause,
    Cut,
    Stop,
    Reset,
    Duplicate,
    Refused,
    Http5xx,
    Timeout,
    Lost,
    Slow,
    NoFault,
)


@cache
def kinds() -> Mapping[str, FaultKind]:
    """Every kind of fault by its name, ours first.

    Raises:
        ExtensionError: one of another distribution cannot be used.
    """
    found: dict[str, FaultKind] = {}
    for name, cls in [*((each.name, each) for each in OURS), *extensions.load(GROUP)]:
        if not (isinstance(cls, type) and issubclass(cls, FaultKind)):
            raise ExtensionError(f"{GROUP}: {name} is no subclass of FaultKind")
        if cls.name in found:
            raise ExtensionError(f"{GROUP}: there are two faults {cls.name}; rename one")
        found[cls.name] = cls()
    return found


def kind_of(fault: Fault) -> FaultKind:
    """What a fault is."""
    return kinds()[fault.kind]


def matrix() -> tuple[Fault, ...]:
    """Every process with every fault of the matrix."""
    every = [kind for kind in kinds().values() if kind.included == "matrix"]
    return tuple(
        Fault(victim, kind.name) for victim in VICTIMS for kind in every if victim in kind.victims
    )


def everything() -> tuple[Fault, ...]:
    """The matrix, and what is judged besides it."""
    besides = [kind for kind in kinds().values() if kind.included == "all"]
    return (*matrix(), *(fault for kind in besides for fault in _of(kind)))


def parse(text: str) -> Fault:
    """Reads `app:kill`, `duplicate`, `outage:lost` and so on.

    Raises:
        ScenarioError: there is no such fault.
    """
    written: dict[str, Fault] = {}
    for kind in kinds().values():
        written |= {str(fault): fault for fault in _of(kind)}
        if kind.alias is not None:
            written[kind.alias] = _of(kind)[0]
    if text not in written:
        raise ScenarioError(f"there is no fault {text}: `conformance faults` prints all there are")
    return written[text]


def parse_scenario(text: str) -> tuple[str, str, Fault]:
    """Path, point and fault of a scenario as it is written, `path@point!victim:fault`.

    Raises:
        ScenarioError: it is not written so, or there is no such fault.
    """
    path, point, fault = split(text)
    return path, point, parse(fault)


def reference() -> str:
    """What every kind of fault is, in words."""
    parts = []
    for kind in kinds().values():
        words = (inspect.getdoc(type(kind)) or "").replace("\n", "\n    ")
        parts.append(f"{_written(kind)}\n    {words}".replace("\n    \n", "\n\n"))
    return "\n\n".join(parts)


def _of(kind: FaultKind) -> list[Fault]:
    return [Fault(victim, kind.name) for victim in kind.victims]


def _written(kind: FaultKind) -> str:
    """How the faults of a kind are written: `{app,daprd}:kill`, `outage:lost`."""
    if kind.alias is not None:
        return kind.alias
    victims = ",".join(kind.victims)
    return f"{{{victims}}}:{kind.name}" if len(kind.victims) > 1 else f"{victims}:{kind.name}"
