"""Records the histories that the replay is tried on: `python -m tests.support.record_histories`.

Run it on purpose, after a change that is meant to change the path of *new* instances; the old
files stay for as long as instances of that path may be under way.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from launcher.settings import Settings
from launcher.stack import Stack
from tests.support.shop import Shop, order
from tests.support.tokens import token

FOLDER = Path(__file__).parent.parent / "workflows" / "histories"
# Patience in seconds where the default is a day and more.
RETRY = {"attempts": 2, "first": 0.1, "cap": 1, "undo_for": 0}
NOWHERE = {"name": "A", "line1": "B", "postcode": "1", "country": "ZZ"}
LOST = [{"sku": "SKU-LOST", "quantity": 1, "unit_price": 5}]
TASK = {"title": "count the stock", "assignee": "p-3"}
PRESS = {"title": "a new press", "action": "buy", "amount": 5_000_000}
LEASE = {"title": "lease", "requester": "c-17", "signers": ["s-1", "s-2"]}
MODEL = {"model": "scoring", "dataset": "d-1", "poll_interval": 0.2}

# path, where to start it, what, and how it looks when it is recorded
PATHS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("fulfilled", "/orders", {}, {"outcome": "FULFILLED"}),
    ("pending-payment", "/orders", {"payment_method": "pm-pending"}, {"outcome": "FULFILLED"}),
    ("declined", "/orders", {"payment_method": "pm-declined"}, {"outcome": "REFUSED"}),
    ("not-served", "/orders", {"ship_to": NOWHERE}, {"outcome": "REFUSED"}),
    ("not-found", "/orders", {"lines": LOST}, {"outcome": "COMPENSATED"}),
    ("too-late", "/orders", {"pickup_timeout": 0.1}, {"outcome": "FULFILLED"}),
    ("waiting", "/orders", {}, {"waiting_for": "carrier"}),
    ("undo-failed", "/orders", {"ship_to": NOWHERE}, {"status": "PARKED"}),
    ("task", "/tasks", TASK, {"outcome": "DONE"}),
    ("deployment", "/deployments", {**MODEL, "version": "v2"}, {"outcome": "READY"}),
    ("automatic", "/approvals", {**PRESS, "amount": 5}, {"outcome": "APPROVED"}),
    (
        "nobody",
        "/approvals",
        {**PRESS, "escalate_after": 1, "expire_after": 2},
        {"outcome": "TIMED_OUT"},
    ),
    ("document", "/documents", LEASE, {"waiting_for": "signing"}),
    ("expired", "/documents", {**LEASE, "signing_timeout": 1}, {"outcome": "EXPIRED"}),
    ("bad-canary", "/deployments", {**MODEL, "version": "v-bad"}, {"outcome": "ROLLED_BACK"}),
]


# Those that somebody has to say something to on their way.
TOLD = ("decided", "cancelled", "config-pending", "monitor")


def tell(shop: Shop, stack: Stack) -> None:
    """Brings those on their way to where they are recorded."""
    shop.authorize(token(stack, "r-1", "requester", "operator"))
    approver = f"Bearer {token(stack, 'a-1', 'approver')}"
    shop.start({"id": "decided", **PRESS}, "/approvals")
    shop.wait("decided", waiting_for="approval_received")
    decision = {"event_id": "e-1", "approved": False, "comment": "too dear"}
    shop.post("/approvals/decided/decision", decision, Authorization=approver).raise_for_status()
    shop.wait("decided", outcome="REJECTED")

    shop.start(order("cancelled", retry=RETRY))
    shop.wait("cancelled", waiting_for="warehouse")
    shop.post("/workflows/cancelled/cancel", None).raise_for_status()
    shop.wait("cancelled", outcome="COMPENSATED")

    rule = shop.script({"status": 503}, operation="ml.create_config", instance="config-pending")
    model = {"id": "config-pending", **MODEL, "version": "v2", "retry": RETRY}
    shop.start(model, "/deployments")
    shop.wait("config-pending", waiting_for="reconcile")
    shop.unscript(rule)
    shop.wait("config-pending", 60, outcome="READY")

    service = {"url": f"{shop.downstream_url}/health/monitor", "healthy_interval": 3600}
    shop.start({"id": "monitor", **service}, "/monitors")
    shop.wait("monitor", waiting_for="control")


def script(shop: Shop) -> None:
    silent = {"callbacks": {"warehouse.picked": {"never": True}}}
    shop.script(silent, operation="carrier.create_shipment", instance="cancelled")
    ship = "carrier.create_shipment"
    shop.script(
        {"callbacks": {"carrier.picked_up": {"never": True}}}, operation=ship, instance="waiting"
    )
    shop.script({"delay": 2}, operation="carrier.cancel_shipment", instance="too-late")
    shop.script({"status": 500}, operation="inventory.release", instance="undo-failed")


def main() -> None:
    from app import replay
    from app.engine import ENDED, Engine

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.ephemeral(Path(folder))
        with Stack(settings) as stack:
            shop = Shop(stack.url, stack.downstream_url).authorize(token(stack, "r-1", "requester"))
            script(shop)
            for name, path, changes, seen in PATHS:
                body = order(name, **changes) if path == "/orders" else {"id": name, **changes}
                shop.start({**body, "retry": RETRY}, path)
                shop.wait(name, 30, **seen)
            tell(shop, stack)
            os.environ["DAPR_API_TOKEN"] = stack.secrets.dapr_api_token
            os.environ["DAPR_GRPC_PORT"] = str(settings.dapr_grpc_port)
            asyncio.run(record(replay, Engine, ENDED))


async def record(replay: Any, engine: Any, ended: tuple[str, ...]) -> None:
    FOLDER.mkdir(exist_ok=True)
    client = engine()
    ended_ones = {name for name, _, _, seen in PATHS if "outcome" in seen} | set(TOLD[:3])
    for name in (*(path[0] for path in PATHS), *TOLD):
        if name in ended_ones:
            await client.settled(name)
        replay.save(await client.history(name), FOLDER / f"{name}.json")
        print(name)


if __name__ == "__main__":
    main()
