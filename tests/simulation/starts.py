"""What clients of a simulation ask for, with the durations that are the default."""

from __future__ import annotations

from typing import Any

from simulation.schedule import Call, Schedule
from tests.support.shop import order

PRESS = {"title": "a new press", "action": "buy", "amount": 5_000_000}
LEASE = {"title": "lease", "requester": "c-17", "signers": ["s-1", "s-2"]}
MODEL = {"model": "scoring", "dataset": "d-1", "version": "v2"}
TASK = {"title": "count the stock", "assignee": "p-3"}
WATCH = {"url": "http://witness/health/web"}


def start(path: str, id: str, body: dict[str, Any], at: float = 1.0) -> Call:
    return Call(at=at, path=path, body={"id": id, **body}, roles=("requester", "operator"))


def an_order(id: str = "order-1", at: float = 1.0, **changes: Any) -> Call:
    return Call(at=at, path="/orders", body=order(id, **changes))


def signed(id: str, signer: str, at: float) -> Call:
    body = {
        "source": "signing",
        "type": "signing.signed",
        "reference": f"{id}/send",
        "data": {"signer": signer},
        "event_id": f"evt-{id}-{signer}",
    }
    return Call(at=at, to="witness", path="/callbacks", body=body)


def decided(id: str, at: float, *, approved: bool = True, role: str = "approver") -> Call:
    body = {"event_id": f"d-{id}", "approved": approved}
    return Call(at=at, path=f"/approvals/{id}/decision", body=body, subject="boss", roles=(role,))


def one_order(*disturbances: Any, **options: Any) -> Schedule:
    return Schedule(calls=(an_order(),), disturbances=disturbances, **options)
