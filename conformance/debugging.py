"""`conformance debug`: one instance, held at a point for a person to look at."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import suppress
from threading import Thread

from conformance import faults
from conformance.commands import CommandError, chosen_paths, setup_of
from conformance.gates.rules import InFlightPolicy
from conformance.plan.injection import hold
from conformance.plan.points import MeasuredPath, Point
from conformance.run.driver import Driver
from conformance.run.session import Session, opened
from conformance.run.trial import Trial

HOLD_DEADLINE = 60.0  # seconds until an instance to be debugged is at its point


async def debug(arguments: argparse.Namespace) -> int:
    """Holds one instance at its point until Enter is pressed; the fault is the reader's."""
    text = arguments.scenario
    path_name, point_name, _ = faults.parse_scenario(text if "!" in text else f"{text}!none")
    setup = setup_of(arguments)
    paths = chosen_paths(setup, (path_name,))
    async with opened(setup, command=arguments.line) as session:
        measured = await session.measure(paths)
        point = _point(measured[0], point_name)
        trial = Trial(f"{session.tag}-debug", paths[0])
        rules = hold(point, trial.path, trial.id)
        await session.gate.rules(rules.gate)
        await session.witness.script(rules.witness)
        values, gate, witness = session.cluster.values, session.gate, session.witness
        async with Driver([trial], values, gate, witness) as driver:
            driver.start()
            await _until_held(session, trial, point)
            _show(session, trial, point)
            await _enter("Enter lets it go on ")
            await gate.release(InFlightPolicy())
            await witness.release()
            await driver.settle(asyncio.get_running_loop().time() + paths[0].settles)
        print(f"{trial.id} ended as {trial.status.outcome}" if trial.ended else "it has not ended")
    return 0 if trial.ended else 1


async def _until_held(session: Session, trial: Trial, point: Point) -> None:
    try:
        async with asyncio.timeout(HOLD_DEADLINE):
            while trial.gate.view.held != point.name:
                if point.at_witness and await session.witness.held():
                    return
                if point.boundary == "acknowledged" and trial.gate.view.ended:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        text = f"{trial.id} did not come to {point.name} in {HOLD_DEADLINE:g} s"
        raise CommandError(text) from None


async def _enter(prompt: str) -> None:
    """Waits for a line of input, or for its end."""
    print(prompt, end="", flush=True)
    loop, pressed = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1024)
        with suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(pressed.set)

    # Not one of asyncio's threads: the end of the program, by Ctrl-C say, would wait for it.
    Thread(target=wait, name="enter", daemon=True).start()
    await pressed.wait()


def _show(session: Session, trial: Trial, point: Point) -> None:
    cluster = session.cluster
    print(f"{trial.id} is held at {point.name} ({point.label})")
    for name in ("app", "sidecar", "witness", "gate"):
        print(f"  {name:8} {getattr(cluster, name)}")
    print(f"  ledger   {cluster.witness}/ledger?instance={trial.id}")
    for victim in ("app", "daprd", "scheduler", "placement"):
        print(f"  {victim:10} {cluster.identity(victim)}")


def _point(measured: MeasuredPath, name: str) -> Point:
    for point in measured.points:
        if point.name == name:
            return point
    some = "\n  ".join(point.name for point in measured.points)
    raise CommandError(f"{measured.path.name} does not cross {name}; it crosses\n  {some}")
