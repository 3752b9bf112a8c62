"""Reports are made from the log alone; the page is opened in a real browser."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest

from conformance import events
from conformance.events import Event, Judged, RunEnded
from conformance.report import html, write
from conformance.report.terminal import Terminal
from tests.support import chromium, event_log
from tests.support.chromium import Chromium
from tests.support.elements import Elements

FAILED = "order_fulfilment/happy@effect:payment.charge:1:after!app:kill"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium.temporary() as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("report"), event_log.small())


def made(folder: Path, run: Iterable[Event]) -> Path:
    write(event_log.write(iter(run), folder / "log.jsonl"), folder)
    return folder / "report.html"


def address(page: Path, **state: str) -> str:
    return f"{page.as_uri()}#{urlencode(state)}"


def driven(browser: Chromium, page: Path, script: str) -> str:
    """What a script finds that acts on a copy of the page; the copy lets another script run."""
    text = re.sub(r"<meta http-equiv=.Content-Security-Policy[^>]*>", "", page.read_text("utf-8"))
    helper = "const $ = (css) => document.querySelector(css); const said = [];"
    helper += "const moved = () => new Promise("
    helper += "(go) => addEventListener('hashchange', go, {once: true}));"
    end = "document.body.append(Object.assign(document.createElement('pre'), "
    end += "{id: 'said', textContent: said.join('|')}));"
    copy = page.with_name("driven.html")
    code = f"<script>{helper} (async () => {{ {script} }})().finally(() => {{ {end} }});</script>"
    copy.write_text(text.replace("</body>", f"{code}</body>"), "utf-8")
    return Elements(browser.dom(copy.as_uri())).said("said")


def test_junit_has_every_scenario_once(page: Path) -> None:
    root = ET.parse(page.with_name("junit.xml")).getroot()
    judged = [e for e in event_log.small() if isinstance(e, Judged) and e.mutant is None]
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {f"{v} {f}" for v, f in event_log.FAULTS} | {"mutants"}
    cases = [case for suite in root for case in suite.iter("testcase")]
    assert len(cases) == len(judged) + 3
    assert int(root.get("tests", 0)) == len(cases)
    assert int(root.get("failures", 0)) == 3 + 1
    assert int(root.get("errors", 0)) == 2
    failed = suites["app kill"].find("testcase/failure/..")
    assert failed is not None
    assert failed.get("classname") == "order_fulfilment/happy"
    assert failed.get("name") == "effect:payment.charge:1:after app kill"
    text = failed.findtext("failure") or ""
    assert "at_most_once: payment.charge took effect 2 times" in text
    assert f"--only '{FAILED}'" in text
    versions = {p.get("name"): p.get("value") for p in suites["app kill"].iter("property")}
    assert versions["dapr"] == "1.18.2"
    missed = suites["mutants"].find("testcase/failure/..")
    assert missed is not None
    assert missed.get("name") == "swallowed_undo"


def test_junit_of_a_run_that_was_killed_is_in_error(tmp_path: Path) -> None:
    events_before = [e for e in event_log.small(broken=False) if not isinstance(e, RunEnded)]
    root = ET.parse(made(tmp_path, events_before).with_name("junit.xml")).getroot()
    assert root.find("testsuite[@name='run']/testcase/error") is not None


def test_a_run_of_a_mutant_alone_is_reported_as_any_other(tmp_path: Path) -> None:
    kinds = (events.RunStarted, RunEnded, Judged)
    run = [e for e in event_log.small() if isinstance(e, kinds)]
    run = [e for e in run if not isinstance(e, Judged) or e.mutant == "key_per_attempt"]
    root = ET.parse(made(tmp_path, run).with_name("junit.xml")).getroot()
    assert (root.get("tests"), root.get("failures")) == ("3", "3")
    assert printed(run, io.StringIO()).count("FAIL  ") == 3


def test_a_scenario_that_was_judged_twice_counts_as_the_worse(tmp_path: Path) -> None:
    point = {"point": "turn:1:dispatch", "label": "turn 1"}
    first = event_log.judged("w/p", point, ("app", "kill"), verdict="fail", broken={"a": "b"})
    again = event_log.judged("w/p", point, ("app", "kill"), batch="9")
    for order in ([first, again], [again, first]):
        (tmp_path / "log.jsonl").unlink(missing_ok=True)
        root = ET.parse(made(tmp_path, order).with_name("junit.xml")).getroot()
        assert (root.get("failures"), len(list(root.iter("testcase")))) == ("1", 2)


def test_the_matrix_rolls_up_and_opens(browser: Chromium, page: Path) -> None:
    shut = Elements(browser.dom(address(page)))
    assert shut.classes["workflow"] == len(event_log.WORKFLOWS)
    assert shut.said("shown") == "3,960 of 3,960 scenarios, at 244 points"
    assert shut.classes["path"] == 0
    opened = Elements(browser.dom(address(page, open="order_fulfilment/happy")))
    assert opened.classes["path"] == 3
    grid = opened.said("grid")
    assert "payment.charge after the effect" in grid
    assert "turn 1 before dispatch" in grid


def test_failures_come_first_with_their_timeline(browser: Chromium, page: Path) -> None:
    found = Elements(browser.dom(address(page)))
    said = found.said("failure-list")
    assert "An effect at most once, whatever is retried" in said
    assert "payment.charge took effect 2 times, not 1" in said
    assert "app:kill: held at its point, exit status 137" in said
    assert f"--only '{FAILED}'" in said
    assert "it never came to its point" in said
    assert found.classes["failure"] == 5


def test_a_link_to_a_scenario_shows_all_of_it(browser: Chromium, page: Path) -> None:
    panel = Elements(browser.dom(address(page, scenario=FAILED))).said("panel")
    assert panel.startswith("failed")
    assert "at_most_once payment.charge took effect 2 times" in panel
    assert f"conformance run target.toml --cluster processes --only '{FAILED}'" in panel
    assert "\u22120.412 s client start: 202" in panel
    assert "+0.000 s fault app:kill" in panel
    assert "2.4 s without anything" in panel
    assert "+4.117 s app ended FULFILLED" in panel
    passed = FAILED.replace("after!", "before!")
    assert Elements(browser.dom(address(page, scenario=passed))).said("panel").startswith("passed")
    gone = Elements(browser.dom(address(page, scenario="no such"))).said("panel")
    assert gone == "Not in this report Close no such"


def test_a_mutant_is_told_from_the_target(browser: Chromium, page: Path) -> None:
    found = Elements(browser.dom(address(page, scenario=FAILED, mutant="key_per_attempt")))
    panel = found.said("panel")
    assert panel.startswith("failed mutant key_per_attempt")
    assert "m-key_per_attempt-0/charge#2: applied" in panel
    assert "at_most_once 3 of 3" in found.said("mutants")
    assert "not caught" in found.said("mutants")


def test_filters_are_in_the_address(browser: Chromium, page: Path) -> None:
    wanted = {
        "verdict=fail": "3 of 3,960 scenarios, at 2 points",
        "verdict=unknown": "2 of 3,960 scenarios, at 2 points",
        "promise=settles": "1 of 3,960 scenarios, at 1 point",
        "path=approval/happy": "280 of 3,960 scenarios, at 17 points",
        "text=payment.charge&verdict=fail": "2 of 3,960 scenarios, at 1 point",
    }
    steps = [
        f"next = moved(); location.hash = {state!r}; await next;said.push($('#shown').textContent);"
        for state in wanted
    ]
    said = driven(browser, page, "let next; " + "".join(steps))
    assert said.split("|") == list(wanted.values())


def test_it_is_driven_by_hand(browser: Chromium, page: Path) -> None:
    said = driven(
        browser,
        page,
        """
        let next = moved();
        $('button[data-group="order_fulfilment"]').click();
        $('button[data-group="order_fulfilment/happy"]').click();
        said.push(document.querySelectorAll('a.cell').length);
        const cell = $('a.cell');
        cell.focus();
        const key = (name) => document.activeElement.dispatchEvent(
          new KeyboardEvent('keydown', {key: name, bubbles: true}));
        key('ArrowDown'); key('ArrowRight');
        said.push(document.activeElement.getAttribute('aria-label'));
        document.activeElement.click(); await next;
        said.push($('#panel').hidden, $('#panel-title').textContent);
        said.push(new URLSearchParams(location.hash.slice(1)).get('scenario'));
        next = moved(); key('Escape'); await next;
        said.push($('#panel').hidden, document.activeElement.getAttribute('aria-label'));
        $('input[value=unknown]').click();
        said.push($('#shown').textContent, location.hash);
        $('#reset').click();
        said.push($('#shown').textContent);
        """,
    )
    assert said.split("|") == [
        str(17 * 16 + 6 * 18),
        "passed: start, on the response, app pause",
        "false",
        "start, on the response · app pause",
        "order_fulfilment/happy@start:response!app:pause",
        "true",
        "passed: start, on the response, app pause",
        "2 of 3,960 scenarios, at 2 points",
        "#verdict=unknown",
        "3,960 of 3,960 scenarios, at 244 points",
    ]


def test_what_a_target_says_stays_text(browser: Chromium, page: Path) -> None:
    text = page.read_text("utf-8")
    assert "<script>document.title" not in text
    dom = browser.dom(address(page, scenario=FAILED))
    assert "<title>owned" not in dom
    assert "document.title='owned'" in Elements(dom).said("panel")
    assert "\\x1b[31m" in Elements(dom).said("notes")


def test_nothing_is_loaded_from_anywhere(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(""", text)
    assert "default-src 'none'" in text


def test_fifteen_thousand_scenarios(browser: Chromium, tmp_path: Path) -> None:
    page = made(tmp_path, event_log.large(15_000))
    assert page.stat().st_size < 6_000_000
    found = Elements(browser.dom(address(page, open="all")))
    assert found.classes["cell"] > 15_000
    assert found.said("shown").startswith("15,640 of 15,640")


def test_timelines_that_are_too_many_stay_in_the_log(
    browser: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "TIMELINES", 1)
    page = made(tmp_path, event_log.small())
    second = FAILED.replace("app:kill", "app:pause")
    panel = Elements(browser.dom(address(page, scenario=second))).said("panel")
    assert "Its timeline of 13 lines is in the log" in panel


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(run: Iterable[Event], out: io.StringIO) -> str:
    show = Terminal(out)
    for event in run:
        show(event)
    return out.getvalue()


def test_the_terminal_prints_what_ci_can_show() -> None:
    text = printed(event_log.small(), io.StringIO())
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert (
        "app cut  240 held in 6.0 s, fired (cut seen), healed 2.1 s, settled 7.0 s: 240 passed"
        in lines
    )
    assert "witness lost  fired 60 of 60, settled 7.0 s: 60 passed" in lines
    assert (
        f"      again: conformance run target.toml --cluster processes --only '{FAILED}'" in lines
    )
    assert "caught  key_per_attempt by at_most_once (3 of 3)" in lines
    assert "MISSED  swallowed_undo by all_or_nothing (0 of 3)" in lines
    assert lines[-4].startswith(
        "3,960 distinct scenarios judged (path, point, victim, fault), 3,958"
    )
    assert lines[-2] == "3,955 passed, 3 failed, 2 unknown"
    assert lines[-1] == "2 of 3 mutants caught"


def test_a_real_terminal_has_a_line_that_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(event_log.small(), Screen())
    assert "\r\x1b[Kapp kill  239 of 240 judged" in text
    finished = [each.split("\r\x1b[K")[-1] for each in text.split("\n")[:-1]]
    assert finished == printed(event_log.small(), io.StringIO()).split("\n")[:-1]


def test_a_stream_of_ascii_gets_ascii() -> None:
    raw = io.BytesIO()
    show = Terminal(io.TextIOWrapper(raw, encoding="ascii"))
    show(events.Note(kind="info", text="größer \u2192"))
    assert raw.getvalue() == b"info: gr\\xf6\\xdfer \\u2192\n"


def test_a_log_that_was_cut_off_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    log = event_log.write(event_log.small(), tmp_path / "log.jsonl")
    whole = list(events.read(log))
    log.write_bytes(log.read_bytes()[:-20])
    assert list(events.read(log)) == whole[:-1]
    page = write(log, tmp_path / "out")[1]
    assert "The run did not finish" in page.read_text("utf-8")


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("")
    with pytest.raises(ValueError, match="no event in it"):
        write(file, tmp_path)
    file.write_text('{"event": "Note", "kind": "info", "text": "x"}\n{"event": "Nothing"}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl:2: not an event: unknown event Nothing"):
        write(file, tmp_path)
