"""docs/extending-the-suite.md, followed to the letter: its blocks are the source."""

from __future__ import annotations

import asyncio
import importlib
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from conformance.faults.kind import FaultNotProven
from conformance.judge.verdict import broken_promises
from launcher.settings import ROOT
from tests.conformance.examples import evidence
from tests.conformance.one_link import LINK, OneLink, one_link
from tests.support.pages import blocks, python

PAGE = ROOT / "docs" / "extending-the-suite.md"
SUITE = ("conformance", "launcher", "downstream", "components", "runtime", "examples", ".runtime")
TRANSFER = ("--target", "examples/transfer/target.toml")


def of_page(*, suite: bool) -> Iterator[re.Match[str]]:
    """Those with a folder are changes of the suite, the others a distribution of one's own."""
    return (block for block in blocks(PAGE) if ("/" in block["file"]) == suite)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files as an installed distribution."""
    folder = tmp_path_factory.mktemp("site-packages")
    for block in of_page(suite=False):
        (folder / block["file"]).write_text(block["text"], "utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    info = folder / f"my_conformance-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head, "utf-8")
    (info / "entry_points.txt").write_text(_entry_points(project["entry-points"]), "utf-8")
    return folder


def _entry_points(groups: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    return "\n".join(lines) + "\n"


@pytest.fixture
def module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module


def test_a_fault_and_a_promise_of_another_distribution_are_found(folder: Path) -> None:
    printed = python(folder, ROOT, "-m", "conformance", "faults")
    assert "witness:slow-network\n    What a provider answers arrives a second" in printed
    listed = python(folder, ROOT, "-m", "conformance", "list", *TRANSFER)
    assert "  witness:slow-network\n" in listed
    assert re.search(r"^  patience +A provider is asked at most five times", listed, re.MULTILINE)


def test_the_promise_holds_for_what_is_right_and_is_broken_by_what_breaks_it(module: Any) -> None:
    promises = {"patience": module("patience").check}
    attempts = [{"key": "i-1/debit"}] * 5
    assert broken_promises(evidence(attempts=attempts), promises) == ({}, "")
    broken, crashed = broken_promises(evidence(attempts=[*attempts, attempts[0]]), promises)
    assert (broken, crashed) == ({"patience": "asked more than five times: i-1/debit (6)"}, "")


# --- the fault, on a real link -------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OneLink]:
    with one_link(tmp_path) as cluster:
        yield cluster


async def test_the_fault_makes_a_real_link_slow_and_restores_it(
    module: Any, cluster: OneLink
) -> None:
    kind = module("slow_network").SlowNetwork()
    injecting = asyncio.create_task(cluster.inject(kind))
    while not await asyncio.to_thread(kind.shows, cluster, LINK):
        assert not injecting.done(), "it was never slow"
    assert (await injecting).startswith(f"{LINK} slow for ")
    assert not kind.shows(cluster, LINK)


async def test_a_fault_that_does_not_show_is_not_proven(module: Any, cluster: OneLink) -> None:
    kind = module("slow_network").SlowNetwork()
    kind.disturb = lambda *_: None
    with pytest.raises(FaultNotProven, match=f"not slow: {LINK}"):
        await cluster.inject(kind)


# --- a victim and a store, in a copy of the suite ------------------------------------------------


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the suite, changed as the page says."""
    copy = tmp_path_factory.mktemp("suite")
    for name in SUITE:
        if name == ".runtime":
            (copy / name).symlink_to((ROOT / name).resolve())
        else:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(".run"))
    subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True, timeout=30)
    for block in of_page(suite=True):
        if block["kind"] == "diff":
            apply = ["git", "apply", "--whitespace=nowarn", "-"]
            subprocess.run(apply, cwd=copy, input=block["text"], text=True, check=True, timeout=30)
        else:
            (copy / block["file"]).parent.mkdir(exist_ok=True)
            (copy / block["file"]).write_text(block["text"], "utf-8")
    return copy


def test_the_victim_has_every_fault_of_a_process(suite: Path) -> None:
    listed = python(suite, suite, "-m", "conformance", "list", *TRANSFER)
    assert "  cache              a cache of the application's\n" in listed
    for kind in ("kill", "pause", "cut", "stop"):
        assert f"  cache:{kind}\n" in listed


def test_the_victim_is_killed_and_comes_back(suite: Path) -> None:
    chosen = ("--store", "sqlite", "--faults", "cache:kill", "--paths", "transfer/done")
    printed = python(suite, suite, "-m", "conformance", "run", *TRANSFER, *chosen)
    assert re.search(
        r"cache kill +\d+ held .*SIGKILL.* is gone.*: \d+ passed$", printed, re.MULTILINE
    )


CONTAINERS = """
from collections import defaultdict
from pathlib import Path
from conformance.clusters import Options, Stores
from conformance.clusters.parts import Plan
from conformance.plan.contract import load

target = load(Path("examples/transfer/target.toml"))
options = Options(target, Path("work"), Stores("valkey", "valkey"))
some = defaultdict(lambda: "some")
plan = Plan(options, some, 8000, some, Path("data"), "t", "s", {}, "p", "10.0.0.1")
print(*(part.name for part in plan.base()))
print(options.stores.servers["store"].image)
"""


def test_victim_and_store_are_containers_too(suite: Path) -> None:
    names, image = python(suite, suite, "-c", CONTAINERS).splitlines()
    assert {"cache", "store"} <= set(names.split())
    assert image == "valkey/valkey:8"


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no Redis server here")
def test_the_store_keeps_what_it_has_acknowledged(suite: Path) -> None:
    chosen = ("--store", "valkey", "--faults", "store:kill", "--paths", "transfer/done")
    printed = python(suite, suite, "-m", "conformance", "run", *TRANSFER, *chosen)
    assert re.search(r"store kill +\d+ held .*: \d+ passed$", printed, re.MULTILINE)
