"""`python -m conformance.gates`: runs the sidecar gate until it is told to stop."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

import uvicorn

from conformance.gates.control import create_app


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the flags.

    Raises:
        SystemExit: 2, something is missing or wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m conformance.gates", description=__doc__)
    for name, help_ in (
        ("listen", "where the worker connects"),
        ("upstream", "the sidecar's gRPC port"),
        ("control", "where the gate is controlled over HTTP"),
    ):
        parser.add_argument(
            f"--{name}", help=help_, required=True, type=_address, metavar="HOST:PORT"
        )
    return parser.parse_args(arguments)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return text


def main() -> None:
    """Runs until it is told to stop."""
    options = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    host, _, port = options.control.rpartition(":")
    print(
        f"gate on {options.listen} before {options.upstream}, control on {options.control}",
        flush=True,
    )
    uvicorn.run(
        create_app(options.listen, options.upstream),
        host=host,
        port=int(port),
        access_log=False,
        log_level="warning",
        # grpc's own poller knows this loop only.
        loop="asyncio",
        timeout_keep_alive=75,
        # Long polls must not keep it from stopping.
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
