"""The application, with one thing done to it from inside at an exact moment.

Runs `python -m app` with a hook: SABOTAGE="<where>=<signal>[*<times>]" sends that signal to the
process itself when it is about to pass that place. The places:

- `send:<key>`  the request with this Idempotency-Key is about to leave
- `schedule:<id>`  an accepted start is about to be handed to the engine

With a `*<times>` the number of times is counted in the file SABOTAGE_COUNT, across processes.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import httpx

from app.engine import Engine


def strike(place: str) -> None:
    wanted, _, how = os.environ["SABOTAGE"].rpartition("=")
    if place != wanted:
        return
    name, _, times = how.partition("*")
    if times:
        count = Path(os.environ["SABOTAGE_COUNT"])
        struck = len(count.read_bytes()) if count.exists() else 0
        if struck >= int(times):
            return
        with count.open("ab") as file:
            file.write(b".")
            file.flush()
            os.fsync(file.fileno())
    # To this very thread: one that is sent to the process lets us run on for a moment.
    signal.pthread_kill(threading.get_ident(), signal.Signals[name])


def install() -> None:
    real_request, real_schedule = httpx.AsyncClient.request, Engine.schedule

    async def request(self: httpx.AsyncClient, method: str, url: Any, **more: Any) -> Any:
        strike(f"send:{(more.get('headers') or {}).get('Idempotency-Key')}")
        return await real_request(self, method, url, **more)

    async def schedule(self: Engine, kind: str, id: str, input: dict[str, Any]) -> None:
        strike(f"schedule:{id}")
        await real_schedule(self, kind, id, input)

    httpx.AsyncClient.request = request  # type: ignore[method-assign]
    Engine.schedule = schedule  # type: ignore[method-assign]


if __name__ == "__main__":
    from app.serve import serve

    install()
    serve()
