"""The command line: `python -m app.cli reconcile`, for a cron job or a person."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging

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


def main() -> None:
    """Runs one command; its answer is JSON on standard output."""
    parser = argparse.ArgumentParser(prog="steadfast", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("reconcile", help="one sweep of the reconciler, whoever holds the lease")
    parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(json.dumps(asyncio.run(_reconcile(Settings())), indent=2))


if __name__ == "__main__":
    main()
