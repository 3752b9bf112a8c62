"""From what was seen of an instance to a verdict: pass, fail or unknown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from conformance.events import Judged, Verdict
from conformance.judge.evidence import Evidence
from conformance.plan.scenario import Scenario

log = logging.getLogger(__name__)

Check = Callable[[Evidence], str | None]
"""Why a promise is broken, or `None`."""


@dataclass(frozen=True)
class Hit:
    """Whether the fault hit an instance at its point, when, and what shows it (or why not)."""

    fired: bool
    text: str
    at: float
    healed_at: float


def broken_promises(seen: Evidence, promises: Mapping[str, Check]) -> tuple[dict[str, str], str]:
    """The promises that do not hold, and which checks crashed: a crash is no pass."""
    broken, crashed = {}, []
    for name, check in promises.items():
        try:
            why = check(seen)
        except Exception as error:
            log.exception("the check of %s crashed", name)
            crashed.append(f"{name} crashed: {type(error).__name__}: {error}")
            continue
        if why is not None:
            broken[name] = why
    return broken, "; ".join(crashed)


def verdict(broken: Mapping[str, str], crashed: str, hit: Hit) -> tuple[Verdict, str]:
    """A broken promise is broken whatever else; without proof of the fault nothing is passed."""
    if broken:
        return "fail", crashed
    if crashed:
        return "unknown", crashed
    return ("pass", "") if hit.fired else ("unknown", hit.text)


def judged(blank: Judged, seen: Evidence, hit: Hit, promises: Mapping[str, Check]) -> Judged:
    """The verdict on one instance, without its timeline; `blank` is what `unknown` says of it."""
    broken, crashed = broken_promises(seen, promises)
    word, reason = verdict(broken, crashed, hit)
    return replace(
        blank,
        instance=seen.instance,
        verdict=word,
        fired=hit.fired,
        seconds=seen.seconds,
        broken=broken,
        reason=reason,
    )


def unknown(
    scenario: Scenario, reason: str, *, batch: str, repeat: str, mutant: str | None
) -> Judged:
    """A scenario of which nothing was seen, and why; `repeat` is the command to judge it again."""
    return Judged(
        batch=batch,
        scenario=str(scenario),
        path=scenario.path,
        workflow=scenario.workflow,
        point=scenario.point.name,
        label=scenario.point.label,
        boundary=scenario.point.boundary,
        victim=scenario.fault.victim,
        fault=scenario.fault.kind,
        instance="",
        verdict="unknown",
        fired=False,
        seconds=0.0,
        reason=reason,
        repeat=f"{repeat} --only '{scenario}'",
        mutant=mutant,
    )
