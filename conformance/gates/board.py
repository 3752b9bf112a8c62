"""All instances: rules, what is held, and who wants to know what has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from typing import Any

from conformance.gates.instance import Instance, Kept
from conformance.gates.rules import END, InFlightPolicy, NewRule, Rule

GATHERING = 0.01  # seconds in which changes that come together are told together


class Board:
    """The instances by id. Belongs to one event loop; nothing here waits but `changes`."""

    def __init__(self) -> None:
        self._instances: dict[str, Instance] = {}
        self._changed: dict[str, Instance] = {}  # the latest change comes last
        self._held: set[str] = set()
        self._rules: list[Rule] = []
        self._version = 0
        self._waiting: list[asyncio.Future[None]] = []

    def instance(self, id_: str) -> Instance:
        """The instance of this id, known or new."""
        found = self._instances.get(id_)
        if found is None:
            found = self._instances[id_] = Instance(id_)
        return found

    def find(self, id_: str) -> Instance | None:
        """The instance, if anything is known of it."""
        return self._instances.get(id_)

    @property
    def held(self) -> int:
        """How many instances are held."""
        return len(self._held)

    @property
    def rules(self) -> Iterable[Rule]:
        """All rules, oldest first."""
        return iter(self._rules)

    def add(self, specs: Iterable[NewRule]) -> int:
        """Adds rules; a message meets the first of its instance and point that still applies."""
        before = len(self._rules)
        for spec in specs:
            rule = Rule(spec)
            self._rules.append(rule)
            self.instance(spec.instance).rules.setdefault(spec.point, []).append(rule)
        return len(self._rules) - before

    def clear_rules(self) -> None:
        """Removes every rule; what is held stays held."""
        self._rules.clear()
        for instance in self._instances.values():
            instance.rules.clear()

    def meet(self, instance: Instance, point: str) -> Rule | None:
        """The rule that a message at this point meets; it has fired then."""
        rule = next((rule for rule in instance.rules.get(point, ()) if rule.applies()), None)
        if rule is None:
            if point != END:
                instance.note(point, "passed")
            return None
        rule.fire()
        if point not in instance.fired:
            instance.fired.append(point)
        if rule.spec.action == "hold":
            instance.held = instance.held or point
            self._held.add(instance.id)
            if point != END:
                instance.note(point, "held")
        return rule

    def keep(self, instance: Instance, kept: Kept) -> None:
        """Keeps a message until it is released."""
        instance.kept[kept] = None
        self.touch(instance)

    def release(self, policy: InFlightPolicy, only: str | None = None) -> int:
        """Ends holding, of one instance or of all; passes on or drops what is held.

        Returns:
            How many messages there were.
        """
        if only is not None:
            chosen = [found] if (found := self.find(only)) else []
        else:
            chosen = list(self._instances.values())
        return sum(self._release(instance, policy) for instance in chosen)

    def _release(self, instance: Instance, policy: InFlightPolicy) -> int:
        for rules in instance.rules.values():
            for rule in rules:
                rule.over = rule.over or rule.spec.action == "hold"
        if instance.held is None:
            return 0
        kept, instance.kept, instance.held = list(instance.kept), {}, None
        self._held.discard(instance.id)
        for each in kept:
            go = getattr(policy, each.kind) == "pass"
            instance.note(each.point, "released" if go else "dropped")
            each.settle(go)
        self.touch(instance)
        return len(kept)

    def lose(self) -> None:
        """Loses every completion that is held: a broken link takes with it what is on its way.

        Dispatches and calls go with their own streams and callers.
        """
        for instance in (self._instances[id_] for id_ in self._held):
            for kept in [kept for kept in instance.kept if kept.kind == "completion"]:
                del instance.kept[kept]
                instance.note(kept.point, "lost")
            self.touch(instance)

    def stream_lost(self, stream: Hashable, ids: Iterable[str]) -> None:
        """A stream that has brought something for these instances is gone."""
        for instance in filter(None, map(self.find, ids)):
            instance.stream_lost(stream)
            self.touch(instance)

    def forget(self) -> None:
        """Forgets every instance and rule; what is held is dropped."""
        self.release(InFlightPolicy(dispatch="drop", completion="drop", request="drop"))
        self._instances.clear()
        self._changed.clear()
        self._rules.clear()

    def touch(self, instance: Instance) -> None:
        """Tells those who wait that something about an instance may be new."""
        self._version += 1
        instance.version = self._version
        self._changed.pop(instance.id, None)
        self._changed[instance.id] = instance
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def changes(self, since: int, wait: float) -> dict[str, Any]:
        """What has changed after a version, waiting so many seconds for something to change."""
        if self._version <= since and wait > 0:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await asyncio.wait({waiter}, timeout=wait)
            if not waiter.done():
                self._waiting.remove(waiter)
            else:
                # A question for each single change would cost more than the change.
                await asyncio.sleep(GATHERING)
        changed: dict[str, dict[str, Any]] = {}
        for id_ in reversed(self._changed):
            instance = self._changed[id_]
            if instance.version <= since:
                break
            changed[id_] = instance.view()
        return {"version": self._version, "instances": changed}
