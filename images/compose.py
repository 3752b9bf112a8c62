"""What docker-compose.yml needs besides images: a command that reads it, and secrets."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from pathlib import Path

from images import ImageError
from images.debian import install
from launcher.files import write_private
from launcher.settings import Secrets

DEADLINE = 30  # seconds for a command to tell its version


def command() -> list[str]:
    """Docker's own compose, or docker-compose; installs Debian's where that is possible.

    Raises:
        ImageError: there is none and it cannot be installed; says how.
    """
    for found in (["docker", "compose"], ["docker-compose"]):
        if _works(found):
            return found
    install("docker-compose")
    if not _works(["docker-compose"]):
        raise ImageError("docker-compose does not run here")
    return ["docker-compose"]


def write_secrets(run_dir: Path) -> Path:
    """Makes the environment files of the services, the same ones every time; returns their folder.

    A database keeps the password that it was made with, and so does its file.

    Raises:
        LauncherError: the secrets of the run directory are damaged.
    """
    folder = run_dir / "compose"
    known = Secrets.of(run_dir)
    password = _password(folder / "postgres.env") or secrets.token_urlsafe(24)
    database = f"postgres:{password}@postgres:5432/postgres"
    keys = {"launcher": {"secret": known.jwt_key}}
    files = {
        "app": {
            "DAPR_API_TOKEN": known.dapr_api_token,
            "STEADFAST_DATABASE_URL": f"postgresql+asyncpg://{database}",
            "STEADFAST_DECISION_KEY": known.decision_key,
            "STEADFAST_JWT_KEYS": _json(keys),
            "STEADFAST_WEBHOOK_SECRETS": _json(
                {source: [secret] for source, secret in known.webhook_secrets.items()}
            ),
        },
        "daprd": {
            "DAPR_API_TOKEN": known.dapr_api_token,
            "STATE_CONNECTION_STRING": f"postgresql://{database}",
        },
        "downstream": {
            "DOWNSTREAM_WEBHOOK_SECRET": known.webhook_secret,
            "DOWNSTREAM_WEBHOOK_SECRETS": _json(known.webhook_secrets),
        },
        "postgres": {"POSTGRES_PASSWORD": password},
    }
    for name, variables in files.items():
        lines = "".join(f"{variable}={value}\n" for variable, value in variables.items())
        write_private(folder / f"{name}.env", lines)
    return folder


def _password(file: Path) -> str:
    text = file.read_text() if file.exists() else ""
    return text.partition("POSTGRES_PASSWORD=")[2].strip()


def _json(value: object) -> str:
    # Nothing that an environment file could take for the end of the value.
    return json.dumps(value, separators=(",", ":"))


def _works(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    asked = subprocess.run([*command, "version"], capture_output=True, timeout=DEADLINE)
    return asked.returncode == 0
