"""What is to be thought of a charge, given what is known of its order. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Word = Literal["fine", "wait", "ask", "refund"]


@dataclass(frozen=True)
class Verdict:
    """`fine`: accounted for; `wait`: too early; `ask`: a person's; `refund`: a record says so."""

    word: Word
    why: str


@dataclass(frozen=True)
class Money:
    """What the audit has to know of a kind of workflow that takes money.

    By its outcome an instance has `kept` what it took, or has `returned` it. A person who settled
    one of the `matters`, by the name in its intervention's key, has settled the money.
    """

    kept: frozenset[str]
    returned: frozenset[str]
    matters: frozenset[str]


KINDS: Mapping[str, Money] = {
    "order_fulfilment": Money(
        kept=frozenset({"FULFILLED"}),
        returned=frozenset({"REFUSED", "COMPENSATED"}),
        matters=frozenset({"charge", "refund", "late_refund", "payment.captured"}),
    )
}
# Ended by a person, who was shown what it left standing.
BY_HAND = frozenset({"TERMINATED", "SETTLED"})

# Longer keys leave no room for the keys that are made of them.
LONGEST_KEY = 150
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


def possible(instance: str) -> bool:
    """Whether an instance can be one of ours: nothing else is looked up, or kept as it is."""
    return _ID.fullmatch(instance) is not None


def judge(
    key: str, instance: str, record: Any | None, settled: Collection[str], before: datetime
) -> Verdict:
    """The verdict on money that was taken under `key` for `instance`.

    `settled` are the keys of the instance's interventions that a person answered so. An order that
    did not end `before` then may still give it back.
    """
    if record is None:
        return Verdict("ask", "no record")
    money = KINDS.get(record["kind"])
    if money is None:
        return Verdict("ask", f"its record is of a {record['kind']}")
    if any(_about(money, key, instance, each) for each in settled):
        return Verdict("fine", "settled by hand")
    if record["state"] != "ended":
        return Verdict("wait", "its order has not ended")
    outcome = record["outcome"]
    if outcome in money.kept or outcome in BY_HAND:
        return Verdict("fine", f"its order ended {outcome}")
    if record["ended_at"] > before:
        return Verdict("wait", f"its order ended {outcome} a moment ago")
    if outcome not in money.returned or not key.startswith(f"{instance}/"):
        return Verdict("ask", f"its order ended {outcome}, and never took it under this key")
    return Verdict("refund", f"its order ended {outcome}")


def _about(money: Money, charged: str, instance: str, key: str) -> bool:
    matter = key.removeprefix(f"{instance}/").partition("/")[0]
    return matter in money.matters or key.startswith(f"{charged}/")
