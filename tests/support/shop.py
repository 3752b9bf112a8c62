"""A customer of the running stack, who believes the provider's ledger and nobody else."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

FULFILLED = [
    "payment.charge",
    "inventory.reserve",
    "carrier.create_shipment",
    "notifier.send",  # the confirmation
    "notifier.send",
]
POLL = 0.1  # seconds between looks


def until(condition: Callable[[], T | None], timeout: float, what: str) -> T:
    """Waits for a condition, for at most so many seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(POLL)


def order(id: str, **changes: Any) -> dict[str, Any]:
    """An order that goes well, unless changed."""
    return {
        "id": id,
        "customer": "c-17",
        "currency": "EUR",
        "lines": [{"sku": "SKU-1", "quantity": 2, "unit_price": 1999}],
        "ship_to": {"name": "A. Person", "line1": "Street 1", "postcode": "10115", "country": "DE"},
        "payment_method": "pm-ok",
        **changes,
    }


def some_id(name: str) -> str:
    """An id that no other test uses."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


@dataclass
class Shop:
    """The two addresses of a stack, and what one does there."""

    url: str
    downstream_url: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def authorize(self, token: str) -> Shop:
        """From now on every request carries this token."""
        self.http.headers["Authorization"] = f"Bearer {token}"
        return self

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(self.url + path, json=body, headers=headers)

    def start(self, body: dict[str, Any], path: str = "/orders") -> str:
        """Starts, however often the application is down just then; that is what ids are for."""

        def accepted() -> bool:
            try:
                response = self.post(path, body)
            except httpx.TransportError:
                return False
            assert response.status_code == 202, response.text
            return True

        until(accepted, 60, f"{body['id']} accepted")
        return str(body["id"])

    def start_all(self, bodies: Iterable[dict[str, Any]], path: str = "/orders") -> list[str]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda body: self.start(body, path), bodies))

    def look(self, id: str) -> dict[str, Any]:
        """The instance as the application shows it; empty while the application is down."""
        try:
            response = self.http.get(f"{self.url}/workflows/{id}")
        except httpx.TransportError:
            return {}
        found: dict[str, Any] = response.json() if response.status_code == 200 else {}
        return found

    def wait(self, id: str, timeout: float = 30, **expected: Any) -> dict[str, Any]:
        """Waits until the instance looks as expected."""

        def as_expected() -> dict[str, Any] | None:
            seen = self.look(id)
            return seen if expected.items() <= seen.items() else None

        try:
            return until(as_expected, timeout, f"{id} {expected}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.look(id)}") from None

    def ended(self, id: str, timeout: float = 30) -> str:
        """Waits for the end; returns the outcome."""
        return str(self.wait(id, timeout, status="ENDED")["outcome"])

    def ledger(self, id: str) -> dict[str, list[dict[str, Any]]]:
        response = self.http.get(f"{self.downstream_url}/ledger", params={"instance": id})
        response.raise_for_status()
        found: dict[str, list[dict[str, Any]]] = response.json()
        return found

    def effects(self, id: str) -> list[str]:
        return [effect["operation"] for effect in self.ledger(id)["effects"]]

    def attempts(self, id: str) -> Counter[str]:
        return Counter(attempt["operation"] for attempt in self.ledger(id)["attempts"])

    def script(self, then: dict[str, Any], **rule: Any) -> str:
        """Scripts the providers; returns the rule's id."""
        match = {name: rule.pop(name) for name in ("operation", "instance", "key") if name in rule}
        body = {"match": match, "then": then, **rule}
        response = self.http.post(f"{self.downstream_url}/script", json=body)
        assert response.status_code == 201, response.text
        made = response.json()
        return str((made[0] if isinstance(made, list) else made)["id"])

    def fired(self, rule: str) -> int:
        """How often a rule fired: a fault that never did proves nothing."""
        rules = self.http.get(f"{self.downstream_url}/script").json()
        rules = rules["rules"] if isinstance(rules, dict) else rules
        return int(next(one["fired"] for one in rules if one["id"] == rule))

    def unscript(self, rule: str) -> None:
        self.http.delete(f"{self.downstream_url}/script/{rule}")
