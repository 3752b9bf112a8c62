"""A money transfer between two banks: one file, plain `dapr.ext.workflow`, nothing else.

It is somebody else's application: it shares no code with this project, and the suite knows no more
of it than `target.toml` and `providers.toml` say. `BUGS=key,undo,retry` plants three mistakes
that are often made; each is marked where it is.

    debit at bank A -> credit at bank B        whatever fails: cancel the credit, reverse the debit

A big transfer is confirmed by two people first, through the sidecar's `raiseEvent`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from dapr.ext.workflow import (
    DaprWorkflowContext,
    RetryPolicy,
    TaskFailedError,
    WorkflowActivityContext,
    WorkflowRuntime,
)

BUGS = set(filter(None, os.environ.get("BUGS", "").split(",")))
BANK_A = os.environ.get("BANK_A_URL", "http://127.0.0.1:8100/bank_a")
BANK_B = os.environ.get("BANK_B_URL", "http://127.0.0.1:8100/bank_b")
SIDECAR = os.environ.get("DAPR_HTTP_ENDPOINT", "http://127.0.0.1:3500")
BIG = 10_000
NEEDED = 2

# The customer waits for the debit: a bank A that does not answer turns the transfer down.
ONCE = RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=1)
SOME = RetryPolicy(
    first_retry_interval=timedelta(seconds=0.2), backoff_coefficient=2, max_number_of_attempts=3
)
FOREVER = RetryPolicy(
    first_retry_interval=timedelta(seconds=0.2),
    backoff_coefficient=2,
    max_number_of_attempts=1_000_000,
    max_retry_interval=timedelta(seconds=2),
)

Call = dict[str, Any]
Answer = dict[str, Any]
Undo = tuple[Callable[[WorkflowActivityContext, Call], Answer], Call]


def transfer(ctx: DaprWorkflowContext, order: dict[str, Any]) -> Generator[Any, Any, str]:
    """Moves `amount` between two accounts; ends DONE, REFUSED, REVERSED or EXPIRED."""
    id = ctx.instance_id
    cancel_credit: Undo = (
        cancel,
        {"instance": id, "key": f"{id}/cancel", "undoes": f"{id}/credit"},
    )
    reverse_debit: Undo = (
        reverse,
        {"instance": id, "key": f"{id}/reverse", "undoes": f"{id}/debit"},
    )
    undos: list[Undo] = []
    if order["amount"] >= BIG:
        # Dapr runs an ended id again when it is started again: nobody is asked twice.
        if past := (yield ctx.call_activity(outcome_of, input=id, retry_policy=FOREVER)):
            return str(past)
        if not (yield from confirmed(ctx, order)):
            # Closes the key, so that no later run of this id moves any money.
            yield call(ctx, *cancel_credit, policy=FOREVER)
            return "EXPIRED"
    steps = (
        (debit, "debit", {"account": order["from"]}, ONCE, reverse_debit),
        (credit, "credit", {"account": order["to"]}, SOME, cancel_credit),
    )
    for activity, name, body, policy, undo in steps:
        if "undo" not in BUGS:
            undos.append(undo)
        body |= {"instance": id, "key": f"{id}/{name}", "amount": order["amount"]}
        try:
            answer = yield call(ctx, activity, body, policy)
        except TaskFailedError:
            break
        # BUG undo: what was done, but never answered, is not undone.
        if "undo" in BUGS:
            undos.append(undo)
        if answer["result"] != "applied":
            break
    else:
        return "DONE"
    # BUG retry: an undo is asked for once, and one bad answer ends the workflow half-way.
    patience = ONCE if "retry" in BUGS else FOREVER
    undone = []
    for activity, body in reversed(undos):
        undone.append((yield call(ctx, activity, body, patience)))
    return "REVERSED" if any(each["result"] == "applied" for each in undone) else "REFUSED"


def confirmed(ctx: DaprWorkflowContext, order: dict[str, Any]) -> Generator[Any, Any, bool]:
    """Whether enough people confirm in time; `confirm_within` is seconds."""
    deadline = ctx.current_utc_datetime + timedelta(seconds=order.get("confirm_within", 86_400))
    people: set[str] = set()
    while len(people) < NEEDED:
        ctx.set_custom_status(f"{len(people)} of {NEEDED} confirmed")
        try:
            event = yield ctx.wait_for_external_event("confirm", timeout=deadline)
        except TimeoutError:
            return False
        people.add(event["by"])
    return True


def call(ctx: DaprWorkflowContext, activity: Any, body: Call, policy: RetryPolicy) -> Any:
    """The activity as a task, with its input and policy."""
    return ctx.call_activity(activity, input=body, retry_policy=policy)


def debit(_: WorkflowActivityContext, call: Call) -> Answer:
    """Takes the money at bank A."""
    return post(f"{BANK_A}/debit", call["key"], call)


def reverse(_: WorkflowActivityContext, call: Call) -> Answer:
    """Gives back what the debit has taken, if it has."""
    return post(f"{BANK_A}/reverse", call["key"], call)


def credit(_: WorkflowActivityContext, call: Call) -> Answer:
    """Brings the money to bank B."""
    # BUG key: the call that is made again after a crash looks like another credit.
    key = str(uuid.uuid4()) if "key" in BUGS else call["key"]
    return post(f"{BANK_B}/credit", key, call)


def cancel(_: WorkflowActivityContext, call: Call) -> Answer:
    """Takes back what was credited, if it was, and lets no credit of this key pass any more."""
    return post(f"{BANK_B}/cancel", call["key"], call)


def outcome_of(_: WorkflowActivityContext, id: str) -> str | None:
    """How an earlier run of this transfer ended, as far as the banks know."""
    credited = look_up(f"{BANK_B}/credit", f"{id}/credit")
    if credited == "applied":
        return "DONE"
    if credited != "undone":
        return None
    return "EXPIRED" if look_up(f"{BANK_A}/debit", f"{id}/debit") is None else "REVERSED"


def post(url: str, key: str, call: Call) -> Answer:
    """A bank's answer; a refusal is one too. Anything unclear is raised, to be asked again."""
    body = {name: value for name, value in call.items() if name != "key"}
    body["reference"] = call["key"]
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    status, answer = ask(Request(url, json.dumps(body).encode(), headers))
    if "result" not in answer:
        raise RuntimeError(f"{url}: HTTP {status} {answer}")
    return {"result": answer["result"]}


def look_up(url: str, reference: str) -> str | None:
    """What a bank knows under our reference."""
    status, answer = ask(Request(f"{url}?reference={quote(reference, safe='')}"))
    return None if status == 404 else str(answer["result"])


def ask(request: Request) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer below 500."""
    try:
        with urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read())
    except HTTPError as error:
        if error.code >= 500 or error.code == 429:
            raise RuntimeError(f"{request.full_url}: HTTP {error.code}") from error
        return error.code, json.loads(error.read())


def wait_for_sidecar() -> None:
    """Waits for as long as it takes; the SDK would too, but with pauses that grow to 15 s."""
    while True:
        try:
            urlopen(f"{SIDECAR}/v1.0/healthz/outbound", timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)


def stop(*_: object) -> NoReturn:
    """Ends the process in an orderly way."""
    sys.exit(0)


def main() -> None:
    """Works until it is told to stop."""
    signal.signal(signal.SIGTERM, stop)
    wait_for_sidecar()
    # Activities wait for banks, so there are more of them at work than processors.
    runtime = WorkflowRuntime(maximum_thread_pool_workers=64)
    runtime.register_workflow(transfer)
    for activity in (debit, reverse, credit, cancel, outcome_of):
        runtime.register_activity(activity)
    runtime.start()
    try:
        signal.pause()
    finally:
        runtime.shutdown()


if __name__ == "__main__":
    main()
