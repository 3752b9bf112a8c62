"""The control interface of a test: script, gate, hand-made callbacks, ledger, registers."""

import json
import uuid
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Discriminator, Field, JsonValue, StringConstraints, Tag

from downstream.config import Counter, Declared, Providers, Seconds, Text, Word
from downstream.delivery import WebhookSender
from downstream.events import new_callback
from downstream.gate import Gate
from downstream.problems import Problem
from downstream.records import Attempt, Effect, Limit
from downstream.requests import find_operation
from downstream.script import Match, NewRule, Script
from downstream.store import Store

# Told apart by shape, so that a bad rule gets one clear message and not one for each branch.
OneOrMore = Annotated[
    Annotated[NewRule, Tag("rule")] | Annotated[list[NewRule], Field(min_length=1), Tag("rules")],
    Discriminator(lambda value: "rules" if isinstance(value, list) else "rule"),
]
EventId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")]


class NewCallback(Declared):
    """A hand-made callback; `after` is seconds from now."""

    source: Word
    type: Word
    reference: Text
    data: dict[str, JsonValue] = Field(default_factory=dict)
    event_id: EventId | None = None
    copies: Annotated[int, Field(ge=1, le=10)] = 1
    after: Seconds = 0


class Release(Match):
    """What is released; with `rules`, rules that match it hold nothing more from then on."""

    rules: bool = False


def script_routes(script: Script, providers: Providers) -> APIRouter:
    """`/script`: rules that inject faults into requests."""
    router = APIRouter(prefix="/script", tags=["script"])

    @router.post("", status_code=201)
    async def add(rules: OneOrMore) -> dict[str, str] | list[dict[str, str]]:
        """Adds one rule or a list, all or none. A request meets the first rule that fits it."""
        specs = rules if isinstance(rules, list) else [rules]
        for spec in specs:
            if complaint := spec.complaint(providers):
                raise Problem(422, "invalid", complaint)
        ids = [{"id": script.add(spec).id} for spec in specs]
        return ids if isinstance(rules, list) else ids[0]

    @router.get("")
    async def show() -> list[dict[str, Any]]:
        """Every rule with the number of its firings."""
        return [rule.view() for rule in script]

    @router.delete("", status_code=204)
    async def clear() -> None:
        """Removes every rule; what is held stays held."""
        script.clear()

    @router.delete("/{rule}", status_code=204)
    async def remove(rule: str) -> None:
        """Removes one rule."""
        if not script.remove(rule):
            raise Problem(404, "unknown-rule", f"there is no rule {rule}")

    return router


def gate_routes(gate: Gate, script: Script) -> APIRouter:
    """`/held` and `/release`: requests that are held still."""
    router = APIRouter(tags=["gate"])

    @router.get("/held")
    async def held() -> list[dict[str, str]]:
        """What is held, oldest first."""
        return [each.view() for each in gate]

    @router.post("/release")
    async def release(match: Release) -> dict[str, int]:
        """Releases what the match covers; everything, when it is empty."""
        if match.rules:
            script.stop_holding(match)
        return {"released": gate.release(match)}

    return router


def callback_routes(store: Store, sender: WebhookSender) -> APIRouter:
    """`/callbacks`: what was and will be sent, and callbacks made by hand."""
    router = APIRouter(prefix="/callbacks", tags=["callbacks"])

    @router.post("", status_code=202)
    async def tell(new: NewCallback) -> dict[str, str]:
        """Sends a hand-made callback, correctly signed."""
        event_id = new.event_id or f"evt-{uuid.uuid4()}"
        try:
            callback = new_callback(
                store,
                event_id=event_id,
                source=new.source,
                type_=new.type,
                reference=new.reference,
                data=new.data,
                copies=new.copies,
                after=new.after,
            )
        except ValueError as error:
            raise Problem(422, "invalid", f"data: {error}") from error
        saved = store.commit(callback)
        sender.send(callback)
        await saved
        return {"event_id": event_id}

    @router.get("")
    async def show() -> list[dict[str, Any]]:
        """Every callback, in order; without an `outcome` it is still being delivered."""
        fields = {"event_id", "source", "due", "copies", "outcome"}
        rows = [
            each.model_dump(mode="json", include=fields) | {"body": json.loads(each.body)}
            for each in store.callbacks.values()
        ]
        await store.settled()
        return rows

    return router


def ledger_routes(store: Store) -> APIRouter:
    """`/ledger`: what was tried and what was done."""
    router = APIRouter(prefix="/ledger", tags=["ledger"])

    @router.get("")
    async def ledger(instance: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Attempts and effects, in order, of one instance or of all."""
        attempts, effects = store.ledger(instance)
        rows = {
            "attempts": [_shown(each) for each in attempts],
            "effects": [_shown(each) for each in effects],
        }
        # Waiting comes last: what is read after it might not be on disk yet.
        await store.settled()
        return rows

    @router.get("/instances")
    async def instances() -> list[str]:
        """Every instance that was named in a request."""
        names = store.instances()
        await store.settled()
        return names

    return router


def _shown(row: Attempt | Effect) -> dict[str, Any]:
    return row.model_dump(mode="json", exclude={"record", "n"})


def register_routes(store: Store, providers: Providers) -> APIRouter:
    """`/registers`: what compare-and-set operations have set."""
    router = APIRouter(prefix="/registers", tags=["ledger"])

    @router.get("/{operation}")
    async def registers(operation: str) -> dict[str, str]:
        """The values of an operation's registers, without those that hold none."""
        if find_operation(providers, operation).sets is None:
            raise Problem(404, "no-register", f"{operation} has no register")
        values = store.registers.values(operation)
        await store.settled()
        return values

    return router


class NewLimit(Declared):
    """How much there is in all; without a limit, any amount."""

    limit: Annotated[int, Field(ge=0)] | None


def counter_routes(store: Store, providers: Providers) -> APIRouter:
    """`/counters`: what was taken and given back, and how much there is."""
    router = APIRouter(prefix="/counters", tags=["ledger"])
    Sums = dict[str, dict[str, int | None]]

    def find_counter(name: str) -> Counter:
        if name not in providers.counters:
            raise Problem(404, "no-counter", f"there is no counter {name}")
        return providers.counters[name]

    @router.get("")
    async def everything() -> dict[str, Sums]:
        """Every counter: by name, what is held, was taken and returned, and the limit."""
        sums = {
            name: store.counters.view(name, declared)
            for name, declared in providers.counters.items()
        }
        await store.settled()
        return sums

    @router.get("/{counter}")
    async def one(counter: str) -> Sums:
        """One counter."""
        sums = store.counters.view(counter, find_counter(counter))
        await store.settled()
        return sums

    @router.put("/{counter}/{name:path}", status_code=204)
    async def limit(counter: str, name: str, new: NewLimit) -> None:
        """Sets how much there is of something, whatever is declared; what is out stays out."""
        find_counter(counter)
        await store.commit(Limit(counter=counter, name=name, limit=new.limit))

    return router
