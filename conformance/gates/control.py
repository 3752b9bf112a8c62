"""The control of the gate, over HTTP, for the suite and for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query

from conformance.gates.board import Board
from conformance.gates.instance import Instance
from conformance.gates.proxy import Proxy
from conformance.gates.rules import InFlightPolicy, NewRule

LONGEST_POLL = 10.0  # seconds


class Release(InFlightPolicy):
    """What is to be done with what is held, of one instance or of all."""

    instance: str | None = None


def create_app(listen: str, upstream: str) -> FastAPI:
    """The gate and its control; addresses are `host:port`."""
    board = Board()
    # A channel belongs to the loop that it is made on.
    running: list[Proxy] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        proxy = Proxy(listen, upstream, board)
        await proxy.start()
        running.append(proxy)
        yield
        await proxy.stop()

    app = FastAPI(title="The sidecar gate", lifespan=lifespan)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """Well, as long as it answers."""
        return {"status": "ok"}

    _rules(app, board)
    _instances(app, board)
    _links(app, board, running)
    return app


def _rules(app: FastAPI, board: Board) -> None:
    @app.post("/rules")
    async def add(rules: list[NewRule]) -> dict[str, int]:
        """Adds rules, all or none."""
        return {"added": board.add(rules)}

    @app.get("/rules")
    async def show(fired: bool | None = None) -> list[dict[str, Any]]:
        """Every rule with the number of its firings, or those that have or have not fired."""
        rules = (rule for rule in board.rules if fired is None or bool(rule.fired) == fired)
        return [rule.view() for rule in rules]

    @app.delete("/rules", status_code=204)
    async def clear() -> None:
        """Removes every rule; what is held stays held."""
        board.clear_rules()

    @app.post("/release")
    async def release(wanted: Release) -> dict[str, int]:
        """Ends holding; passes on or drops what is held."""
        return {"released": board.release(wanted, wanted.instance)}


def _instances(app: FastAPI, board: Board) -> None:
    @app.get("/instances")
    async def instances(
        since: Annotated[int, Query(ge=0)] = 0,
        wait: Annotated[float, Query(ge=0, le=LONGEST_POLL)] = 0,
    ) -> dict[str, Any]:
        """What has changed after a version, waiting so many seconds for a change."""
        return await board.changes(since, wait)

    @app.delete("/instances", status_code=204)
    async def forget() -> None:
        """Forgets every instance and rule; what is held is dropped, streams stay."""
        board.forget()

    @app.get("/points")
    async def points(instance: str) -> list[dict[str, Any]]:
        """The points that an instance has crossed, in order, and when it first did."""
        found = _find(board, instance)
        return [
            {"point": point, "label": label, "at": found.crossed_at[point]}
            for point, label in found.points.items()
        ]

    @app.get("/messages")
    async def messages(instance: str) -> list[dict[str, Any]]:
        """What became of the latest messages of an instance, in order."""
        return [
            {"at": at, "point": point, "action": happened}
            for at, point, happened in _find(board, instance).messages
        ]


def _links(app: FastAPI, board: Board, running: list[Proxy]) -> None:
    @app.post("/sever", status_code=204)
    async def sever() -> None:
        """Gives up the worker: the sidecar dispatches again, the worker has to come back."""
        running[0].work.sever()

    @app.post("/cut", status_code=204)
    async def cut() -> None:
        """Breaks every call in both directions and refuses new ones."""
        await running[0].sidecar.cut()

    @app.post("/restore", status_code=204)
    async def restore() -> None:
        """Lets calls through again."""
        running[0].sidecar.restore()

    @app.get("/state")
    async def state() -> dict[str, bool | int]:
        """Whether the link works, and how many instances are held."""
        proxy = running[0]
        return {
            "cut": proxy.sidecar.link is None,
            "worker_connected": proxy.work.connected,
            "held": board.held,
        }

    @app.get("/counts")
    async def counts() -> dict[str, dict[str, int]]:
        """How many calls and messages have crossed, by method."""
        proxy = running[0]
        return {
            name: {"calls": calls, "messages": proxy.messages[name]}
            for name, calls in sorted(proxy.calls.items())
        }


def _find(board: Board, id_: str) -> Instance:
    found = board.find(id_)
    if found is None:
        raise HTTPException(404, f"nothing is known of {id_}")
    return found
