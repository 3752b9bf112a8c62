"""The command line: `python -m app.cli <command>`, for people, cron jobs and CI."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from app import replay
from app.engine import Engine
from app.reconcile import Reconciler
from app.settings import Settings
from app.worker import make_env


async def _reconcile(settings: Settings) -> dict[str, list[str]]:
    env = make_env(settings)
    try:
        # The application's relay carries on from what the sweep has kept; nobody is poked here.
        report = await Reconciler(env, Engine(), settings, lambda: None).sweep()
        return report.as_dict()
    finally:
        await env.provider.aclose()
        await env.store.close()


async def _record(id: str, folder: Path) -> Path:
    path = folder / f"{id}.json"
    replay.save(await Engine().history(id), path)
    return path


def _replay(paths: list[Path]) -> int:
    """Exit status 0 when every history is taken to its end, 1 otherwise, 2 without any."""
    found = [path for given in paths for path in ([given] if given.is_file() else _in(given))]
    diverged = [one for one in map(replay.replay, found) if one is not None]
    for divergence in diverged:
        print(divergence, file=sys.stderr)
    print(f"{len(found)} histories replayed, {len(diverged)} diverged")
    return 2 if not found else 1 if diverged else 0


def _in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def main() -> int:
    """Runs one command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="steadfast", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("reconcile", help="one sweep of the reconciler, whoever holds the lease")
    recorder = commands.add_parser("record", help="keep the history of an instance as a fixture")
    recorder.add_argument("id")
    recorder.add_argument("folder", type=Path)
    player = commands.add_parser("replay", help="drive today's workflows with recorded histories")
    player.add_argument("paths", type=Path, nargs="+", help="histories, or folders of them")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if given.command == "replay":
        return _replay(given.paths)
    if given.command == "record":
        print(asyncio.run(_record(given.id, given.folder)))
    else:
        print(json.dumps(asyncio.run(_reconcile(Settings())), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
