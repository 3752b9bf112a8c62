"""What a person sees once the stack is up: where everything is, and three things to try."""

import json
import os
import shlex
import sys
from pathlib import Path

from launcher import services
from launcher.stack import Stack

AUTHORIZED = '-H "Authorization: Bearer $TOKEN"'


def banner(stack: Stack) -> str:
    """Addresses, and the examples."""
    start, watch, kill = examples(stack)
    return f"""
  application   {stack.url}   {stack.url}/docs
  ledger        {stack.downstream_url}/ledger
  logs          {_short(stack.log_dir)}/
  processes     {_short(stack.settings.run_dir / "state.json")}

In another terminal, in this folder. A token that is good for a day:

TOKEN={services.token(stack.secrets)}

Start an order:

{start}

Watch it until it has ended, and see what it did to the world:

{watch}

Kill the application in the middle of another one. It comes back and goes on:

{kill}

Ctrl-C stops everything; the data stays in {_short(stack.settings.data_dir)}/.
"""


def examples(stack: Stack) -> tuple[str, str, str]:
    """Shell commands that work as they are: start an order, watch one, kill one's application."""
    state = _short(stack.settings.run_dir / "state.json")
    python = shlex.quote(str(_short(Path(sys.executable))))
    pid = f"{python} -c \"import json; print(json.load(open({str(state)!r}))['app']['pid'])\""
    charged = (
        f"until curl -s '{stack.downstream_url}/ledger?instance=order-1002' | grep -q charge; "
        "do sleep 0.1; done"
    )
    kill = f"{_start(stack, 'order-1002')}\n{charged}\nkill -9 $({pid})"
    return (
        _start(stack, "order-1001"),
        _watch(stack, "order-1001"),
        f"{kill}\n{_watch(stack, 'order-1002')}",
    )


def _start(stack: Stack, order: str) -> str:
    body = {
        "id": order,
        "customer": "c-17",
        "currency": "EUR",
        "lines": [{"sku": "SKU-1", "quantity": 2, "unit_price": 1999}],
        "ship_to": {"name": "Ada", "line1": "Main St 1", "postcode": "10115", "country": "DE"},
        "payment_method": "pm-ok",
        "pickup_timeout": 259200,
    }
    return (
        f"curl -sS -w '\\n' {stack.url}/orders {AUTHORIZED} \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body))}"
    )


def _watch(stack: Stack, order: str) -> str:
    return (
        f"until curl -s -w '\\n' {AUTHORIZED} {stack.url}/workflows/{order} "
        "| grep ENDED; do sleep 1; done\n"
        f"curl -sS -w '\\n' '{stack.downstream_url}/ledger?instance={order}'"
    )


def _short(path: Path) -> Path:
    """Relative to where the person is, if that is shorter to read."""
    here = Path(os.path.relpath(path))
    return path if ".." in here.parts else here
