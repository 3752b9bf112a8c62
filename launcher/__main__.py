"""``python -m launcher run | status | env | runtime [NAME ...]``."""

import argparse
import logging
import shlex
import signal
import sys
from types import FrameType

from launcher import services
from launcher.banner import banner
from launcher.errors import LauncherError
from launcher.net import LOOPBACK
from launcher.rundir import RunDir
from launcher.runtime import TOOLS, find_or_build
from launcher.settings import Secrets, Settings
from launcher.stack import Stack


def main() -> int:
    """Exit status: 0 all well, 1 something that a person must change, said on one line."""
    parser = argparse.ArgumentParser(prog="launcher", description="Run the stack as processes.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="start everything and keep it up until Ctrl-C")
    commands.add_parser("status", help="what runs now; fails when nothing does")
    runtime = commands.add_parser("runtime", help="find or build the binaries")
    runtime.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(TOOLS)}")
    commands.add_parser(
        "env", help="the application's environment for its command line, and a TOKEN"
    )
    given = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    try:
        match given.command:
            case "run":
                return _run(Settings.load())
            case "status":
                return _status(Settings.load())
            case "env":
                _env(Settings.load())
            case _:
                names = given.names or list(TOOLS)
                if unknown := set(names) - set(TOOLS):
                    parser.error(f"no such tool: {', '.join(sorted(unknown))}")
                find_or_build(names, Settings.load().dapr_bin)
    except LauncherError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(settings: Settings) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with Stack(settings) as stack:
            print(banner(stack), flush=True)
            stack.supervisor.join()
    except KeyboardInterrupt:
        return 0
    raise LauncherError(
        "the supervisor has stopped by a fault of its own: see the log above, and start it again"
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Once: a second signal must not interrupt the stopping."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    logging.getLogger("launcher").info("stopping")
    raise KeyboardInterrupt


def _env(settings: Settings) -> None:
    secrets = Secrets.of(settings.run_dir)
    sidecar = services.sidecar_ports(settings)
    for name, value in services.app_environment(settings, secrets, settings.port, sidecar).items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"export TOKEN={services.token(secrets)}")


def _status(settings: Settings) -> int:
    run_dir = RunDir(settings.run_dir)
    if not run_dir.is_held():
        print("not running")
        return 1
    for name, process in run_dir.read_state().items():
        address = f"{LOOPBACK}:{process['port']}" if "port" in process else ""
        print(f"{name:12} pid {process['pid'] or 'down':<8} {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
