"""The command `steadfast`, for supervisors, people, cron jobs and CI. Without a word it serves."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shlex
import sys
import uuid
from pathlib import Path

from pydantic import ValidationError

from activities.decisions import SignedDecision
from activities.signatures import Signed
from activities.signed_controls import SignedControl
from app import replay
from app.audit import Audit
from app.engine import Engine
from app.reconcile import Reconciler
from app.serve import serve
from app.settings import Settings, from_environment
from app.tokens import AUDIENCE, expires_in, mint
from app.worker import make_env
from store.monitor_controls import NAME
from workflows.approval import EVENT


async def _reconcile(settings: Settings) -> dict[str, list[str]]:
    env = make_env(settings)
    try:
        # The application's relay carries on from what the sweep has kept; nobody is notified here.
        report = await Reconciler(env, Engine(), settings, lambda: None).sweep()
        return report.as_dict()
    finally:
        await env.providers.aclose()
        await env.store.close()


async def _audit(settings: Settings) -> dict[str, int]:
    env = make_env(settings)
    try:
        return dict(await Audit(env, settings).sweep())
    finally:
        await env.providers.aclose()
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


def _token(settings: Settings, subject: str, roles: list[str], seconds: float) -> str:
    kid = next(iter(settings.jwt_keys), None)
    if kid is None:
        raise SystemExit("error: STEADFAST_JWT_KEYS names no key")
    claims = {"sub": subject, "roles": roles, "exp": expires_in(seconds)}
    return mint(settings.jwt_keys, kid, AUDIENCE, claims)


def _signed_decision(settings: Settings, given: argparse.Namespace) -> str:
    unsigned = SignedDecision(
        approved=not given.reject,
        approver=given.approver,
        role=given.role,
        event_id=given.event_id or f"cli-{uuid.uuid4()}",
        expires=expires_in(given.seconds),
        signature="",
    )
    return _raising(settings, given.id, EVENT, unsigned)


def _signed_control(settings: Settings, given: argparse.Namespace) -> str:
    unsigned = SignedControl(
        action=given.action,
        settings=json.loads(given.settings) if given.settings else None,
        by=given.by,
        event_id=given.event_id or f"cli-{uuid.uuid4()}",
        expires=expires_in(given.seconds),
        signature="",
    )
    try:
        unsigned.control()
    except ValidationError as error:
        raise SystemExit(f"error: {error.errors()[0]['msg']}") from error
    return _raising(settings, given.id, NAME, unsigned)


def _raising(settings: Settings, id: str, event: str, unsigned: Signed) -> str:
    """The command of the Dapr CLI that raises an event, signed."""
    key = settings.decision_key.get_secret_value()
    if not key:
        raise SystemExit("error: STEADFAST_DECISION_KEY is not set")
    signed = unsigned.model_copy(update={"signature": unsigned.expected(key, id)})
    return (
        f"dapr workflow raise-event {id}/{event} --app-id {settings.app_id} "
        f"--input {shlex.quote(signed.model_dump_json(exclude_none=True))}"
    )


def _in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def main() -> int:
    """Runs one command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="steadfast", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve until told to stop (this is the default)")
    commands.add_parser("reconcile", help="one sweep of the reconciler, whoever holds the lease")
    commands.add_parser("audit", help="one sweep of the audit, whoever holds the lease")
    recorder = commands.add_parser("record", help="keep the history of an instance as a fixture")
    recorder.add_argument("id")
    recorder.add_argument("folder", type=Path)
    token = commands.add_parser("token", help="a bearer token, signed with our first key")
    token.add_argument("subject")
    token.add_argument(
        "roles", nargs="+", choices=["requester", "approver", "director", "operator"]
    )
    token.add_argument("--seconds", type=float, default=3600)
    decision = commands.add_parser(
        "decision", help="a signed decision, as a command of the Dapr CLI"
    )
    decision.add_argument("verb", choices=["sign"])
    decision.add_argument("id")
    decision.add_argument("--reject", action="store_true")
    decision.add_argument("--approver", required=True)
    decision.add_argument("--role", choices=["approver", "director"], default="approver")
    decision.add_argument("--event-id")
    decision.add_argument("--seconds", type=float, default=3600, help="how long it is good")
    control = commands.add_parser("control", help="a signed control, as a command of the Dapr CLI")
    control.add_argument("verb", choices=["sign"])
    control.add_argument("id")
    control.add_argument("action", choices=["stop", "pause", "resume", "update"])
    control.add_argument("--settings", help="what an update changes, as JSON")
    control.add_argument("--by", required=True)
    control.add_argument("--event-id")
    control.add_argument("--seconds", type=float, default=3600, help="how long it is good")
    player = commands.add_parser("replay", help="drive today's workflows with recorded histories")
    player.add_argument("paths", type=Path, nargs="+", help="histories, or folders of them")
    given = parser.parse_args()
    if given.command in (None, "serve"):
        serve()
        return 0
    logging.basicConfig(level=logging.WARNING)
    if given.command == "replay":
        return _replay(given.paths)
    if given.command == "token":
        print(_token(from_environment(), given.subject, given.roles, given.seconds))
        return 0
    if given.command == "decision":
        print(_signed_decision(from_environment(), given))
        return 0
    if given.command == "control":
        print(_signed_control(from_environment(), given))
        return 0
    if given.command == "audit":
        print(json.dumps(asyncio.run(_audit(from_environment())), indent=2))
        return 0
    if given.command == "record":
        print(asyncio.run(_record(given.id, given.folder)))
    else:
        print(json.dumps(asyncio.run(_reconcile(from_environment())), indent=2))
    return 0
