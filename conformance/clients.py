"""What the suite asks of gate and witness, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from conformance.errors import ConformanceError
from conformance.gates.rules import InFlightPolicy

DEADLINE = 15.0  # seconds for one request


@dataclass(frozen=True)
class InstanceView:
    """What the gate knows of an instance; see `conformance.gates`."""

    turns: int = 0
    completed: Mapping[str, int] = field(default_factory=dict)
    idle: bool = False
    held: str | None = None
    fired: Sequence[str] = ()
    ended: str | None = None


class GateClient:
    """The control of the sidecar gate."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=DEADLINE)

    async def rules(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Adds rules for single instances."""
        if rules:
            await self._ask("POST", "/rules", json=list(rules))

    async def clear(self) -> None:
        """Forgets rules and instances; streams stay."""
        await self._ask("DELETE", "/rules")
        await self._ask("DELETE", "/instances")

    async def release(self, policy: InFlightPolicy) -> None:
        """Ends every hold; passes on or drops what is held."""
        await self._ask("POST", "/release", json=policy.model_dump())

    async def sever(self) -> None:
        """Gives the worker up: its work is dispatched again."""
        await self._ask("POST", "/sever")

    async def cut(self) -> None:
        """Breaks every stream and refuses calls."""
        await self._ask("POST", "/cut")

    async def restore(self) -> None:
        """Lets streams and calls through again."""
        await self._ask("POST", "/restore")

    async def state(self) -> dict[str, Any]:
        """`cut`, `worker_connected` and `held`."""
        return dict(await self._ask("GET", "/state"))

    async def changes(self, since: int, wait: float) -> tuple[int, dict[str, InstanceView]]:
        """Instances that changed after a version; waits up to so many seconds for one."""
        answer = await self._ask("GET", "/instances", params={"since": since, "wait": wait})
        return answer["version"], {
            id: InstanceView(
                turns=row["turns"],
                completed=row["completed"],
                idle=row["idle"],
                held=row["held"],
                fired=row["fired"],
                ended=row["ended"],
            )
            for id, row in answer["instances"].items()
        }

    async def points(self, instance: str) -> list[dict[str, Any]]:
        """The points that an instance crossed, in order, with the time of each."""
        return list(await self._ask("GET", "/points", params={"instance": instance}))

    async def messages(self, instance: str) -> list[dict[str, Any]]:
        """What crossed for an instance, and what was done to it."""
        return list(await self._ask("GET", "/messages", params={"instance": instance}))

    async def close(self) -> None:
        """Closes connections."""
        await self._http.aclose()

    async def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        response = await self._http.request(method, path, **arguments)
        response.raise_for_status()
        return response.json() if response.content else None


class WitnessClient:
    """The control and the ledger of the witness."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=2 * DEADLINE)

    async def script(self, rules: Sequence[Mapping[str, Any]]) -> list[str]:
        """Adds rules; returns their ids."""
        if not rules:
            return []
        made = (await self._ask("POST", "/script", json=list(rules))).json()
        return [rule["id"] for rule in made]

    async def fired(self) -> dict[str, int]:
        """How often each rule fired, by its id."""
        rules = (await self._ask("GET", "/script")).json()
        return {rule["id"]: rule["fired"] for rule in rules}

    async def clear(self) -> None:
        """Removes every rule and releases everything that is held."""
        await self._ask("DELETE", "/script")
        await self._ask("POST", "/release", json={})

    async def held(self) -> set[tuple[str, str]]:
        """Instance and key-with-stage of every request that is held."""
        rows = (await self._ask("GET", "/held")).json()
        return {(row["instance"], row["stage"]) for row in rows}

    async def release(self) -> None:
        """Releases everything, and ends the rules that hold."""
        await self._ask("POST", "/release", json={"rules": True})

    async def ledger(self, instance: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Attempts and effects, in order."""
        params = {"instance": instance} if instance else {}
        return dict((await self._ask("GET", "/ledger", params=params)).json())

    async def callback(self, callback: Mapping[str, Any]) -> None:
        """Sends a hand-made callback."""
        await self._ask("POST", "/callbacks", json=dict(callback))

    async def close(self) -> None:
        """Closes connections."""
        await self._http.aclose()

    async def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        response = await self._http.request(method, path, **arguments)
        if response.is_error:
            raise WitnessError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response


class WitnessError(ConformanceError):
    """The witness refused what it was asked; the message is its answer."""
