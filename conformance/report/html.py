"""The HTML report: one page that needs nothing else, for fifteen thousand scenarios as for fifteen.

The template holds what is read first; the matrix, the details and the timelines are built by the
page's own script from the compact data in it, on demand.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from conformance.events import Judged, MutantJudged
from conformance.report.run import SEVERITY, Run

CONTROL = re.compile("[\x00-\x08\x0b-\x1f]")
PAGE = Path(__file__).parent / "page"
SCRIPTS = ("model.js", "timeline.js", "details.js", "failures.js", "matrix.js", "main.js")

# Beyond these the page says that the log has the rest: it must stay small enough to be opened.
TIMELINES = 400
EXAMPLES = 4


def render(run: Run, log: str) -> str:
    """The page; `log` is the name of the file that it was made from."""
    # A script may not be left or opened from inside a string of the data.
    data = json.dumps(_data(run), ensure_ascii=False, separators=(",", ":"))
    script = '"use strict";\n' + "\n".join((PAGE / name).read_text("utf-8") for name in SCRIPTS)
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(number=_number, duration=duration, date=_date)
    page = environment.get_template("report.html").render(
        run=run,
        log=log,
        verdict=_verdict(run),
        counts=_counts(run),
        bars=_bars(run),
        style=Markup((PAGE / "report.css").read_text("utf-8")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=Markup(data.replace("<", "\\u003c")),
    )
    # What a target printed may hold half a character, which no file of text can.
    return page.encode("utf-8", "replace").decode("utf-8")


def duration(seconds: float) -> str:
    """Seconds as people say them: `8.2 s`, `9 min 24 s`, `1 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _visible(value: Any) -> Any:
    """Control characters as they are written in a program."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", value)


def _number(value: int) -> str:
    return f"{value:,}"


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _counts(run: Run) -> dict[str, int]:
    worst = [verdicts[0] for verdicts in run.scenarios().values()]
    return {
        "judged": len(worst),
        "proven": sum(each.fired for each in worst),
        **{verdict: sum(each.verdict == verdict for each in worst) for verdict in SEVERITY},
        "caught": sum(each.caught for each in run.mutants),
        "mutants": len(run.mutants),
    }


def _verdict(run: Run) -> tuple[str, str]:
    """The verdict's colour and the sentence that says it."""
    counts = _counts(run)
    missed = counts["mutants"] - counts["caught"]
    said = []
    if counts["fail"]:
        said.append(f"{_count(counts['fail'], 'scenario')} broke a promise")
    if missed:
        said.append(f"{_count(missed, 'mutant')} not caught")
    if counts["unknown"]:
        said.append(f"{_count(counts['unknown'], 'scenario')} could not be judged")
    colour = "fail" if counts["fail"] or missed else "unknown"
    if run.ended is None:
        return colour, "; ".join(["The run did not finish", *said])
    if said:
        return colour, "; ".join(said)
    if run.ended.exit == 0 and (counts["judged"] or counts["mutants"]):
        return "pass", "Every promise was kept" if counts["judged"] else "Every mutant was caught"
    return "unknown", f"The run ended with exit status {run.ended.exit}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _bars(run: Run) -> list[dict[str, Any]]:
    """The batches with the share of the longest that each of their phases takes, in percent."""
    ended = [batch.ended for batch in run.batches.values() if batch.ended]
    sums = [each.held_after + each.healed_after + each.settled_after for each in ended]
    longest = max(sums, default=0.0) or 1.0
    bars = []
    for (mutant, _), batch in run.batches.items():
        phases = (
            {
                "held": batch.ended.held_after,
                "healed": batch.ended.healed_after,
                "settled": batch.ended.settled_after,
            }
            if batch.ended
            else {}
        )
        shares = {phase: round(100 * value / longest, 2) for phase, value in phases.items()}
        bars.append({"mutant": mutant, "batch": batch, "phases": phases, "shares": shares})
    return bars


class _Index:
    """Numbers for things that occur often."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def __getitem__(self, thing: Any) -> int:
        return self._numbers.setdefault(thing, len(self._numbers))

    def all(self) -> list[Any]:
        return list(self._numbers)


def _data(run: Run) -> dict[str, Any]:
    """What the script needs, each scenario as a short row (`model.js` reads it)."""
    points, strings, columns = _Index(), _Index(), _Index()
    for victim, fault in run.columns():
        columns[victim, fault]
    unstable = []
    boundaries = {(each.path, each.point): each.boundary for each in run.judged}
    for path in run.measured.values():
        labels = {each["point"]: each.get("label", each["point"]) for each in path.points}
        for name in dict.fromkeys([*labels, *path.unstable]):
            boundary = boundaries.get((path.path, name), name.rpartition(":")[2])
            number = points[path.workflow, path.path, name, labels.get(name, name), boundary]
            if name in path.unstable:
                unstable.append(number)
    names = {(each[1], each[2]): number for number, each in enumerate(points.all())}

    def row(judged: Judged, with_timeline: bool) -> list[Any]:
        name = (judged.path, judged.point)
        if name not in names:
            names[name] = points[judged.workflow, *name, judged.label, judged.boundary]
        told: dict[str, Any] = {}
        if judged.broken or judged.reason or judged.verdict != "pass":
            told = {"broken": judged.broken, "reason": judged.reason}
            if with_timeline:
                told["timeline"] = judged.timeline
            elif judged.timeline:
                told["left_out"] = len(judged.timeline)
        return [
            names[name],
            columns[judged.victim, judged.fault],
            SEVERITY[judged.verdict],
            int(judged.fired),
            round(judged.seconds, 3),
            judged.instance,
            judged.batch,
            judged.scenario,
            strings[_template(judged)],
            told or 0,
        ]

    left = TIMELINES
    rows = []
    for each in run.judged:
        rows.append(row(each, left > 0))
        left -= bool(each.timeline)
    measured = len(points.all())
    mutants = [
        {**asdict(each), "examples": [row(e, True) for e in _examples(run.of_mutants, each)]}
        for each in run.mutants
    ]
    return {
        "promises": run.started.promises if run.started else {},
        "columns": columns.all(),
        "points": points.all(),
        "rows": measured,
        "unstable": unstable,
        "judged": rows,
        "mutants": mutants,
        "strings": strings.all(),
    }


def _template(judged: Judged) -> str:
    """The command that repeats it, with the scenario's name left out: it is there already."""
    return judged.repeat.replace(judged.scenario, "\0") if judged.scenario else judged.repeat


def _examples(judged: Mapping[str, list[Judged]], mutant: MutantJudged) -> Iterable[Judged]:
    """Some scenarios that a mutant failed, the promise that must catch it first."""
    failed = [each for each in judged.get(mutant.mutant, []) if each.verdict != "pass"]
    failed.sort(key=lambda each: (mutant.promise not in each.broken, each.verdict != "fail"))
    found: dict[frozenset[str], list[Judged]] = {}
    for each in failed:
        found.setdefault(frozenset(each.broken), []).append(each)
    return [each for alike in found.values() for each in alike[:EXAMPLES]][: 3 * EXAMPLES]
