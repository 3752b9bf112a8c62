"""A run from its first event to its reports: cluster, log, measured paths, what failed on file."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import platform
import shlex
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from conformance.clients import GateClient, WitnessClient
from conformance.clusters import Cluster, Options, Stores
from conformance.events import Event, Judged, Listener, Log, RunEnded, RunStarted
from conformance.faults.recovery import UNHEALED, WEDGED
from conformance.plan.contract import Target, TargetError, WorkflowPath
from conformance.plan.contract import load as load_target
from conformance.plan.placeholders import fill
from conformance.plan.points import MeasuredPath
from conformance.plan.scenario import Fault
from conformance.promises import checks, text
from conformance.run.context import RunContext
from conformance.run.matrix import Score
from conformance.run.measure import measure
from conformance.topology import VICTIMS, Topology
from downstream.config import ConfigError
from downstream.config import load as load_providers
from launcher.runtime import TOOLS

CLUSTERS = ("processes", "containers")
BATCH = 400  # instances at once, unless told otherwise
KEPT = 50  # failures of a run that are written to files of their own


@dataclass(frozen=True)
class Setup:
    """Where and how a target is run. `work` holds data, logs and results."""

    target: Target
    file: Path
    cluster: str
    stores: Stores
    work: Path

    @classmethod
    def of(cls, file: Path, cluster: str, stores: Stores, work: Path | None) -> Setup:
        """The setup of a target's file; without `work`, what a run keeps stands beside the target.

        Raises:
            TargetError: the file cannot be used.
        """
        folder = work or file.resolve().parent / ".run" / "conformance"
        target = load_target(file)
        try:
            load_providers(target.folder / target.witness.config)
        except ConfigError as error:
            raise TargetError(str(error)) from error
        return cls(target, file, cluster, stores, folder.resolve())

    def lacks(self, fault: Fault) -> bool:
        """Whether there is nothing here that such a fault could happen to."""
        return fault.victim in VICTIMS and fault.victim not in self.topology.victims

    @property
    def topology(self) -> Topology:
        """The processes and links that are here."""
        return self._options().topology

    @property
    def flags(self) -> str:
        """The part of a command line that repeats this setup."""
        file = shlex.quote(str(self.file))
        return f"--target {file} --cluster {self.cluster} {self.stores.flags}"

    def make(self, source: Path | None = None) -> Cluster:
        """A cluster, not started yet."""
        options = self._options(source)
        # Imported here: processes need no Docker library.
        if self.cluster == "containers":
            from conformance.clusters.containers import Containers

            return Containers(options)
        from conformance.clusters.processes import Processes

        return Processes(options)

    def _options(self, source: Path | None = None) -> Options:
        work = self.work / self.cluster
        return Options(target=self.target, work=work, stores=self.stores, source=source)


@dataclass(frozen=True)
class Session:
    """A running cluster, what was measured on it, and where events go."""

    setup: Setup
    cluster: Cluster
    gate: GateClient
    witness: WitnessClient
    emit: Listener
    folder: Path
    tag: str
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def measure(self, paths: Sequence[WorkflowPath]) -> list[MeasuredPath]:
        """Dry runs of these paths.

        Raises:
            PathError: one does not go as declared.
            TargetError: one names a placeholder that has no value.
        """
        for path in paths:
            _require_values(path, {**self.cluster.values, "id": ""})
        return await measure(self.cluster, paths, self.tag, self.emit)

    def context(self, mutant: str | None = None) -> RunContext:
        """What batches share; of a mutated application when it is named."""
        target = self.setup.target
        providers = load_providers(target.folder / target.witness.config)
        siblings: dict[str, frozenset[str]] = {}
        for path in target.paths():
            outcomes = {ending.outcome for ending in path.endings}
            known = siblings.get(path.workflow, frozenset())
            siblings[path.workflow] = known | outcomes
        repeat = f"python -m conformance run {self.setup.flags}"
        return RunContext(
            cluster=self.cluster,
            gate=self.gate,
            witness=self.witness,
            emit=self.emit,
            promises=checks(),
            tag=self.tag if mutant is None else f"{self.tag}-{mutant.replace('_', '-')}",
            undoes={each.undo: name for name, each in providers.operations.items() if each.undo},
            sibling_outcomes=siblings,
            patience=WEDGED if target.heals_wedge else UNHEALED,
            repeat=repeat if mutant is None else f"{repeat} --mutant {mutant}",
            mutant=mutant,
            numbers=self.numbers,
        )


@asynccontextmanager
async def opened(setup: Setup, *listeners: Listener, command: str) -> AsyncIterator[Session]:
    """Starts a cluster; writes the log while it is used; ends everything.

    Raises:
        ClusterError: it did not start.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = setup.work / "runs" / f"{stamp}-{os.getpid()}"
    failures = _Failures(setup, folder / "failures")
    log = Log(folder / "log.jsonl", failures, *listeners)
    cluster = setup.make()
    log(
        RunStarted(
            target=setup.target.name,
            cluster=setup.cluster,
            store=str(setup.stores),
            command=command,
            versions=_versions(),
            promises={name: text(name) for name in checks()},
        )
    )
    try:
        # Not in a thread: a start that is interrupted ends at once, and removes what it has made.
        with _interruptible():
            cluster.start()
    except BaseException:
        log.close()
        raise
    gate, witness = GateClient(cluster.gate), WitnessClient(cluster.witness)
    tag = f"c{int(time.time()) % 1_000_000:06d}"
    try:
        yield Session(setup, cluster, gate, witness, log, folder, tag)
    finally:
        await gate.close()
        await witness.close()
        await asyncio.to_thread(cluster.stop)
        log.close()


@contextmanager
def _interruptible() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends what blocks the loop; otherwise it only cancels its task."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def interrupt(*_: object) -> None:
        restore()
        raise asyncio.CancelledError

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        restore()


def _require_values(path: WorkflowPath, values: Mapping[str, str]) -> None:
    signals = [each.model_dump() for each in path.signals]
    look = [path.look.url, path.look.headers]
    try:
        fill([path.start.model_dump(), look, signals], values)
    except TargetError as error:
        raise TargetError(f"{path.name}: {error}") from error


def _versions() -> dict[str, str]:
    """What the verdicts are about: the runtime and the SDK that were judged with the target."""
    return {
        "dapr": TOOLS["daprd"].version,
        "dapr sdk": version("dapr"),
        "python": platform.python_version(),
    }


def ended(score: Score) -> RunEnded:
    """The sum of a run."""
    return RunEnded(
        judged=len(score.judged),
        fired=sum(each.fired for each in score.judged),
        passed=score.count("pass"),
        failed=score.count("fail"),
        unknown=score.count("unknown"),
        seconds=time.monotonic() - score.began,
        exit=score.exit,
    )


class _Failures:
    """Writes a file for each of the first failures, which `conformance replay` runs again."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self._setup = setup
        self._folder = folder
        self._count = 0

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Judged) or event.verdict == "pass" or self._count >= KEPT:
            return
        self._count += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {
            "target": str(self._setup.file.resolve()),
            "cluster": self._setup.cluster,
            "database": self._setup.stores.database,
            "state_store": self._setup.stores.state,
            "mutant": event.mutant,
            "scenarios": [event.scenario],
            "verdict": event.verdict,
            "broken": event.broken,
            "reason": event.reason,
        }
        file = self._folder / f"{self._count:03d}.json"
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
