"""`python -m downstream`: runs the witness. Every flag has a variable too; flags win."""

import argparse
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from downstream.app import create_app
from downstream.config import load
from downstream.journal import JournalError


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads flags and, for those that are not given, `DOWNSTREAM_…` variables.

    Raises:
        SystemExit: 2, something is missing or wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m downstream", description=__doc__)

    def option(name: str, help_: str, default: str | None = None) -> None:
        variable = f"DOWNSTREAM_{name.upper().replace('-', '_')}"
        value = os.environ.get(variable, default)
        text = f"{help_} [{variable}]"
        parser.add_argument(f"--{name}", help=text, default=value, required=value is None)

    option("host", "address to listen on", "127.0.0.1")
    option("port", "port to listen on", "8100")
    option("data", "directory of the journal, made if need be")
    option("config", "file that declares the operations, TOML")
    option("webhook-url", "callbacks go to URL/webhooks/SOURCE", "http://127.0.0.1:8000")
    option(
        "webhook-secret", "signs callbacks; flags show in the process list, so prefer the variable"
    )
    option("webhook-secrets", 'of sources that have their own, {"source": "secret"}', "{}")
    options = parser.parse_args(arguments)
    options.webhook_secrets = _by_source(parser, options.webhook_secrets)
    if not options.port.isascii() or not options.port.isdigit() or int(options.port) > 65_535:
        parser.error(f"--port {options.port} is not a number from 0 to 65535")
    if not options.webhook_url.startswith(("http://", "https://")):
        parser.error(f"--webhook-url {options.webhook_url} does not start with http:// or https://")
    return options


def _by_source(parser: argparse.ArgumentParser, text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        parser.error('--webhook-secrets is not a JSON object of strings like {"source": "secret"}')
    return found


def main() -> None:
    """Runs until it is told to stop; exits with 1 when it cannot start as asked."""
    options = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # A response that is lost on purpose looks like a bug to the server.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: "without completing response" not in record.getMessage()
    )
    try:
        app = create_app(
            load(Path(options.config)),
            data=Path(options.data),
            webhook_url=options.webhook_url,
            webhook_secret=options.webhook_secret,
            webhook_secrets=options.webhook_secrets,
        )
    except (JournalError, OSError, ValueError) as error:
        raise SystemExit(f"downstream: {error}") from error
    uvicorn.run(
        app,
        host=options.host,
        port=int(options.port),
        access_log=False,
        log_config=None,
        # Longer than any client keeps an idle connection: closing it first would be a fault that
        # no script asked for.
        timeout_keep_alive=75,
        # Requests that are held or never answered must not keep it from stopping.
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
