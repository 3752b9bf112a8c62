"""The command as a person runs it: what it says, what it writes, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from conformance import cli
from conformance.clusters import ClusterError, Options, Stores
from conformance.clusters.processes import Processes
from conformance.events import Judged, RunEnded, read
from conformance.plan import contract
from conformance.run import measure
from launcher.settings import ROOT
from tests.conformance.kit import TRANSFER, change, command, conformance, copied

CREDIT = "effect:bank_b.credit:1:before"
SQLITE = ("--store", "sqlite")
TARGET = ("--target", str(TRANSFER / "target.toml"))


@dataclass(frozen=True)
class Run:
    """A finished run and where its files are."""

    file: Path
    done: subprocess.CompletedProcess[str]
    folder: Path

    @property
    def judged(self) -> list[Judged]:
        return [each for each in read(self.folder / "log.jsonl") if isinstance(each, Judged)]


@pytest.fixture(scope="module")
def bugged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that finds what `BUGS=key` plants."""
    folder = tmp_path_factory.mktemp("bugged")
    file = copied(folder / "target", bugs="key")
    faults = ("--faults", "outage:lost", "--paths", "transfer/done", "--points", CREDIT)
    done = conformance("run", "--target", file, *SQLITE, "--work", folder / "work", *faults)
    (found,) = (folder / "work" / "runs").iterdir()
    return Run(file, done, found)


def test_a_broken_promise_is_exit_code_1_and_told_with_the_command_that_repeats_it(
    bugged: Run,
) -> None:
    assert bugged.done.returncode == 1, bugged.done.stderr
    assert f"({CREDIT})  witness lost" in bugged.done.stdout
    assert "at_most_once: " in bugged.done.stdout
    repeat = f"again: python -m conformance run --target {bugged.file} --cluster processes"
    assert repeat in bugged.done.stdout
    assert f"--only 'transfer/done@{CREDIT}!witness:lost'" in bugged.done.stdout
    (judged,) = bugged.judged
    assert (judged.verdict, judged.fired) == ("fail", True)
    *_, last = read(bugged.folder / "log.jsonl")
    assert isinstance(last, RunEnded)
    assert (last.failed, last.exit) == (1, 1)


def test_what_failed_is_on_file(bugged: Run) -> None:
    (file,) = (bugged.folder / "failures").iterdir()
    kept = json.loads(file.read_text())
    assert kept["scenarios"] == [f"transfer/done@{CREDIT}!witness:lost"]
    assert (kept["verdict"], kept["cluster"]) == ("fail", "processes")
    assert (kept["database"], kept["state_store"]) == ("sqlite", "sqlite")
    assert set(kept["broken"]) >= {"at_most_once"}


def test_reports_are_made_again_from_the_log_alone(bugged: Run, tmp_path: Path) -> None:
    assert cli.main(["report", str(bugged.folder / "log.jsonl"), "--folder", str(tmp_path)]) == 0
    for name in ("junit.xml", "report.html"):
        assert (tmp_path / name).read_bytes() == (bugged.folder / name).read_bytes()


def test_a_log_that_was_cut_off_still_makes_a_report(bugged: Run, tmp_path: Path) -> None:
    whole = (bugged.folder / "log.jsonl").read_bytes()
    log = tmp_path / "log.jsonl"
    log.write_bytes(whole[: whole.index(b'{"event": "RunEnded"') + 30])
    assert cli.main(["report", str(log)]) == 0
    assert "at_most_once" in (tmp_path / "report.html").read_text("utf-8")
    assert "<failure" in (tmp_path / "junit.xml").read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "there is no log"), ("", "there is no event in it"), ("{}\n", ":1: not an event")],
)
def test_what_is_no_log_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, complaint: str
) -> None:
    log = tmp_path / "log.jsonl"
    if content is not None:
        log.write_text(content)
    assert cli.main(["report", str(log)]) == 2
    assert complaint in capsys.readouterr().err


def test_what_failed_fails_again_until_it_is_mended(bugged: Run, tmp_path: Path) -> None:
    file = bugged.folder / "failures" / "001.json"
    again = conformance("replay", file, "--work", tmp_path)
    assert again.returncode == 1, again.stderr
    assert "at_most_once: " in again.stdout
    change(bugged.file, 'BUGS = "key"', 'BUGS = ""')
    try:
        mended = conformance("replay", file, "--work", tmp_path)
    finally:
        change(bugged.file, 'BUGS = ""', 'BUGS = "key"')
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "1 passed, 0 failed, 0 unknown" in mended.stdout


def test_a_fault_that_does_not_fire_is_unknown(tmp_path: Path) -> None:
    file = copied(tmp_path / "target", fickle=True)
    only = ("--only", f"fickle/done@{CREDIT}!outage:lost")
    done = conformance("run", "--target", file, *SQLITE, "--work", tmp_path / "work", *only)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"({CREDIT})  witness lost" in done.stdout
    assert "the witness's rule fired 0 times" in done.stdout
    assert "0 passed, 0 failed, 1 unknown" in done.stdout


def test_what_nobody_crosses_is_not_passed_over(tmp_path: Path) -> None:
    wanted = f"transfer/poor@turn:1:dispatch!app:kill transfer/poor@{CREDIT}!app:kill".split()
    only = [part for text in wanted for part in ("--only", text)]
    done = conformance("run", *TARGET, *SQLITE, "--work", tmp_path, *only)
    assert done.returncode == 2
    assert f"conformance: no path crosses {wanted[1]}" in done.stderr
    assert "passed" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("run --paths nobody/*", "no path is called nobody/*"),
        ("run --only transfer/done", "write a scenario as path@point!victim:fault"),
        ("run --only transfer/done@turn:1:dispatch!app:tickle", "there is no fault app:tickle"),
        ("run --faults app:tickle", "there is no fault app:tickle"),
        ("run --faults store:kill", "with sqlite there is no such process: leave out store:kill"),
        ("run --batch 0", "a number from 1 to 5000"),
        ("run --mutant nobody", "there is no mutant nobody"),
        ("mutants nobody", "there is no mutant nobody"),
        ("debug transfer/done", "write a scenario as path@point!victim:fault"),
        ("check --paths nobody", "no path is called nobody"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: str, complaint: str
) -> None:
    name, *rest = arguments.split()
    try:
        code = cli.main([name, *TARGET, *SQLITE, "--work", str(tmp_path), *rest])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    assert code == 2
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing was started"


@pytest.mark.parametrize("content", ["", "{}", '{"scenarios": ["x"]}', "no json"])
def test_what_is_no_file_of_a_failure_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "failure.json").write_text(content)
    assert cli.main(["replay", str(tmp_path / "failure.json")]) == 2
    assert capsys.readouterr().err.startswith("conformance: ")


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", *TARGET]) == 0
    out = capsys.readouterr().out
    for text in ("transfer/half_confirmed", "EXPIRED", "scheduler:pause", "witness:lost"):
        assert text in out
    assert re.search(r"at_most_once +\S", out)


def test_init_writes_what_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", str(tmp_path)]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"target.toml", "providers.toml"}
    assert cli.main(["list", "--target", str(tmp_path / "target.toml")]) == 0
    assert "python -m conformance check --target" in capsys.readouterr().out


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "providers.toml").write_text("mine")
    assert cli.main(["init", str(tmp_path)]) == 2
    assert "already there, and left as they are: " in capsys.readouterr().err
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


# --- check ---------------------------------------------------------------------------------------


def check(file: Path, work: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return conformance("check", "--target", file, *SQLITE, "--work", work, *more)


def test_check_says_which_paths_end_as_declared_and_how_the_others_do(tmp_path: Path) -> None:
    closed = 'body = { to = "acc-closed" }\nendings = [\n    { outcome = '
    file = copied(tmp_path / "target", (f'{closed}"REVERSED"', f'{closed}"DONE"'))
    done = check(file, tmp_path / "work", "--paths", "transfer/closed,transfer/poor")
    assert done.returncode == 2
    said = "transfer/closed: ends as REVERSED with ['bank_a.debit', 'bank_a.reverse'], which is not"
    assert said in done.stderr
    assert re.search(r"transfer/poor: \d+ points", done.stdout)
    mended = check(TRANSFER / "target.toml", tmp_path / "work", "--paths", "transfer/closed")
    assert mended.returncode == 0, mended.stderr
    assert re.search(r"all 1 paths end as declared; they cross \d+ points", mended.stdout)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('app_id = "transfer"', "app_id = ", "target.toml: Invalid value"),
        ('app_id = "transfer"', 'ap_id = "x"', "app_id: Field required"),
        ('config = "providers.toml"', 'config = "none.toml"', "none.toml"),
    ],
)
def test_check_says_what_cannot_be_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    file = copied(tmp_path / "target", (old, new))
    assert cli.main(["check", "--target", str(file), *SQLITE]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            'BANK_A_URL = "{witness}',
            'BANK_A_URL = "{wittness}',
            r"there is no placeholder \{wittness\}; there",
        ),
        (
            "transfer/start?instanceID={id}",
            "transfer/start?instanceID={idd}",
            r"transfer/done: there is no placeholder \{idd\}; there are .*, id, ",
        ),
        (
            'command = ["{python}", "app.py"]',
            'command = ["{python}", "-c", "raise SystemExit(\'no such bank\')"]',
            r"app keeps ending(?s:.*)no such bank",
        ),
    ],
)
def test_check_says_why_it_does_not_start(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    file = copied(tmp_path / "target", (old, new))
    done = check(file, tmp_path / "work")
    assert done.returncode == 2
    assert re.search(f"conformance: (?s:.*){complaint}", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_what_the_application_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "DEADLINE", 3.0)
    start = ("dapr/transfer/start?", "dapr/transfers/begin?")
    file = copied(tmp_path / "target", start)
    work = ("--work", str(tmp_path / "work"), "--paths", "transfer/poor")
    assert cli.main(["check", "--target", str(file), *SQLITE, *work]) == 2
    assert re.search("transfer/poor: start: 40[45] ", capsys.readouterr().err)


def test_an_application_that_never_connects_is_said_with_what_it_printed(tmp_path: Path) -> None:
    silent = 'command = ["{python}", "-uc", "import time; print(\'hm\'); time.sleep(600)"]'
    file = copied(tmp_path / "target", ('command = ["{python}", "app.py"]', silent))
    cluster = Processes(Options(contract.load(file), tmp_path / "work", Stores.both("sqlite")))
    with pytest.raises(ClusterError, match=r"no worker is connected(?s:.*)app\.log:(?s:.*)\bhm\b"):
        cluster.start(timeout=8)


# --- debug ---------------------------------------------------------------------------------------


@pytest.fixture
def debugged(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = (*TARGET, *SQLITE, "--work", tmp_path, f"transfer/done@{CREDIT}")
    with subprocess.Popen(
        command("debug", *arguments),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.terminate()


def test_debug_holds_an_instance_until_enter_is_pressed(debugged: subprocess.Popen[str]) -> None:
    assert debugged.stdin is not None
    assert debugged.stdout is not None
    shown = ""
    while "Enter lets it go on" not in shown:
        text = debugged.stdout.read(1)
        assert text, shown
        shown += text
    assert f"is held at {CREDIT} (bank_b.credit)" in shown
    assert re.search(r"daprd +pid \d+", shown)
    ledger = re.search(r"ledger +(http://127\.0\.0\.1:\S+)", shown)
    assert ledger is not None, shown
    effects = httpx.get(ledger[1]).json()["effects"]
    assert [effect["operation"] for effect in effects] == ["bank_a.debit"]
    debugged.stdin.write("\n")
    debugged.stdin.flush()
    rest = debugged.stdout.read()
    assert "ended as DONE" in rest
    assert debugged.wait(30) == 0


def test_a_reader_that_has_read_enough_is_no_failure_of_the_suite() -> None:
    shown = [sys.executable, "-m", "conformance", "faults"]
    with subprocess.Popen(
        shown, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert (listing.stderr.read(), listing.wait(30)) == ("", 2)
