"""From what was seen of an instance to a verdict: pass, fail or unknown."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from conformance.client import Gate
from conformance.crowd import Member
from conformance.events import Judged, Verdict
from conformance.evidence import Evidence
from conformance.promises import PROMISES
from conformance.scenario import Scenario

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """Whether the fault hit an instance at its point, when, and what shows it (or why not)."""

    fired: bool
    text: str
    at: float
    healed_at: float


def broken_promises(seen: Evidence) -> tuple[dict[str, str], str]:
    """The promises that do not hold, and which checks crashed: a crash is no pass."""
    broken, crashed = {}, []
    for name, check in PROMISES.items():
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


async def timeline(gate: Gate, member: Member, seen: Evidence, hit: Hit) -> list[dict[str, Any]]:
    """Everything that is known of an instance, in order of time."""
    rows = [
        {"at": m["at"], "source": "gate", "what": f"{m['point']} {m['action']}"}
        for m in await gate.messages(member.id)
    ]
    rows += [
        {
            "at": _moment(a["at"]),
            "source": "witness",
            "what": f"{a['operation']} {a['key']}: {a['result']}, response {a['response']}",
        }
        for a in seen.attempts
    ]
    rows += [
        {
            "at": _moment(e["at"]),
            "source": "effect",
            "what": f"{e['operation']} {e['key']}"
            + (f" undoes {e['undoes']}" if e["undoes"] else ""),
        }
        for e in seen.effects
    ]
    rows += [
        {"at": a.at, "source": "client", "what": f"{a.what}: {a.status}"} for a in seen.answers
    ]
    if hit.at:
        rows.append({"at": hit.at, "source": "fault", "what": f"{seen.fault}: {hit.text}"})
        rows.append({"at": hit.healed_at, "source": "fault", "what": "healed"})
    rows += _reported(seen.look)
    return sorted(rows, key=lambda row: row["at"])


def judged(
    scenario: Scenario,
    member: Member,
    seen: Evidence,
    hit: Hit,
    *,
    batch: str,
    repeat: str,
    mutant: str | None,
) -> Judged:
    """The verdict on one instance, without its timeline."""
    broken, crashed = broken_promises(seen)
    word, reason = verdict(broken, crashed, hit)
    return Judged(
        batch=batch,
        scenario=str(scenario),
        path=scenario.path,
        workflow=seen.path.workflow,
        point=scenario.point.name,
        label=scenario.point.label,
        boundary=scenario.point.boundary,
        victim=scenario.fault.victim,
        fault=scenario.fault.kind,
        instance=member.id,
        verdict=word,
        fired=hit.fired,
        seconds=seen.seconds,
        broken=broken,
        reason=reason,
        repeat=repeat,
        mutant=mutant,
    )


def _reported(look: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What the application tells in a `timeline` of its own, if it has one."""
    rows = (look or {}).get("timeline")
    if not isinstance(rows, list):
        return []
    told = []
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("at"), str):
            rest = {k: v for k, v in row.items() if k != "at" and v is not None}
            what = " ".join(str(value) for value in rest.values())
            told.append({"at": _moment(row["at"]), "source": "app", "what": what})
    return told


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
