"""The JUnit XML of a run: one test case per scenario, one suite per victim and fault."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from conformance.events import Judged, MutantJudged
from conformance.report.run import Run

# XML 1.0 has no place for these, not even escaped.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(run: Run) -> str:
    """The document. A broken promise is a failure, what is unknown an error.

    Of a scenario that was judged more than once the worst verdict counts. The mutants are a suite
    of their own, in which one that was not caught is a failure.
    """
    root = ET.Element("testsuites", name=run.started.target if run.started else "conformance")
    scenarios = [verdicts[0] for verdicts in run.scenarios().values()]
    for victim, fault in run.columns():
        mine = [each for each in scenarios if (each.victim, each.fault) == (victim, fault)]
        _suite(root, run, f"{victim} {fault}", [(_case(each), each.seconds) for each in mine])
    if run.mutants:
        _suite(root, run, "mutants", [(_mutant(each), 0.0) for each in run.mutants])
    if run.ended is None:
        _suite(root, run, "run", [(_unfinished(), 0.0)])
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in root)))
    root.set("time", f"{run.seconds:.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _suite(root: ET.Element, run: Run, name: str, cases: list[tuple[ET.Element, float]]) -> None:
    suite = ET.SubElement(root, "testsuite", name=_clean(name), tests=str(len(cases)), skipped="0")
    suite.set("failures", str(sum(case.find("failure") is not None for case, _ in cases)))
    suite.set("errors", str(sum(case.find("error") is not None for case, _ in cases)))
    suite.set("time", f"{sum(seconds for _, seconds in cases):.3f}")
    if run.started is not None:
        suite.set("timestamp", datetime.fromtimestamp(run.started.at, UTC).isoformat())
        known = {"target": run.started.target, "cluster": run.started.cluster}
        known |= {"store": run.started.store, "command": run.started.command}
        known |= run.started.versions
        properties = ET.SubElement(suite, "properties")
        for key, value in known.items():
            ET.SubElement(properties, "property", name=_clean(key), value=_clean(value))
    suite.extend([case for case, _ in cases])


def _case(judged: Judged) -> ET.Element:
    name = f"{judged.point} {judged.victim} {judged.fault}"
    case = ET.Element("testcase", classname=_clean(judged.path), name=_clean(name))
    case.set("time", f"{judged.seconds:.3f}")
    if judged.verdict == "fail":
        _wrong(case, "failure", ", ".join(judged.broken) or judged.reason, judged)
    elif judged.verdict == "unknown":
        _wrong(case, "error", judged.reason or "the fault did not provably fire", judged)
    return case


def _wrong(case: ET.Element, kind: str, message: str, judged: Judged) -> None:
    start = judged.timeline[0]["at"] if judged.timeline else 0.0
    lines = [f"{promise}: {why}" for promise, why in judged.broken.items()]
    lines += [judged.reason] if judged.reason else []
    lines += [f"{judged.label}; instance {judged.instance}"]
    lines += [f"again: {judged.repeat}"] if judged.repeat else []
    lines += [
        f"{each['at'] - start:+9.3f} s  {each['source']:<12} {each['what']}"
        for each in judged.timeline
    ]
    wrong = ET.SubElement(case, kind, message=_clean(message), type=judged.verdict)
    wrong.text = _clean("\n".join(lines))


def _mutant(mutant: MutantJudged) -> ET.Element:
    case = ET.Element("testcase", classname="mutants", name=_clean(mutant.mutant), time="0")
    if not mutant.caught:
        broken = ", ".join(f"{promise} {count}" for promise, count in mutant.broken.items())
        message = f"not caught by {mutant.promise}: {mutant.reason or 'it did not break'}"
        failure = ET.SubElement(case, "failure", message=_clean(message), type="not caught")
        failure.text = _clean(
            f"{mutant.summary}\nbroke {broken or 'nothing'} in {mutant.scenarios} scenarios"
        )
    return case


def _unfinished() -> ET.Element:
    case = ET.Element("testcase", classname="run", name="finishes", time="0")
    ET.SubElement(case, "error", message="the log ends before the run does", type="unknown")
    return case


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\ufffd", text)
