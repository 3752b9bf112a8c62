"""A document: sent to everybody who has to sign, reminded weekly, voided if one declines.

The signers answer in any order, and may answer twice or late; each answer is an event of the same
wait, so the instance needs no memory beyond who is still missing.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from workflows.definition import Version
from workflows.instance import Abort, Yields
from workflows.messages import Message, Pivot, RetryRule
from workflows.saga import Saga, Step

SEND = Step("send", "signing.send", "void", "signing.void")
STEPS = (SEND,)
TELL = Step("notify", "notifier.send")

DAY = 86_400
SIGNED, DECLINED = "signing.signed", "signing.declined"
EXPIRED = "the signing deadline passed"


class Document(Message):
    """What the workflow needs of a document. Durations are seconds."""

    id: str
    title: str
    requester: str
    signers: list[str]
    signing_timeout: float = 30 * DAY
    reminder_interval: float = 7 * DAY
    retry: RetryRule = Field(default_factory=RetryRule)


def document_signing(saga: Saga, document: Document) -> Yields[str]:
    """Ends SIGNED by all, or voided: DECLINED by one, EXPIRED, or CANCELLED."""

    def forward() -> Yields[None]:
        yield from saga.step(SEND, {"title": document.title, "signers": document.signers})
        expires = yield from saga.deadline("signing", document.signing_timeout)
        start = expires - timedelta(seconds=document.signing_timeout)
        missing, reminders = list(document.signers), 0
        while missing:
            pause = timedelta(seconds=(reminders + 1) * document.reminder_interval)
            due = min(start + pause, expires)
            # The last signature that is missing is the one behind which nothing can be voided.
            last = Pivot(type=SIGNED, data={"signer": missing[0]}) if len(missing) == 1 else None
            event = yield from saga.wait_until("signing", due, (SIGNED, DECLINED), last)
            if event is None:
                if start + pause >= expires:
                    raise Abort(EXPIRED)
                reminders += 1
                yield from remind(missing, reminders)
            elif event.type == DECLINED:
                raise Abort(f"declined by {event.data.get('signer')}", refused=True)
            elif event.data.get("signer") in missing:
                missing.remove(event.data["signer"])

    def remind(missing: list[str], number: int) -> Yields[None]:
        for signer in missing:
            name = f"remind/{number}/{document.signers.index(signer) + 1}"
            letter = {"to": signer, "template": "please_sign"}
            yield from saga.step(Step(name, "notifier.send", on_failure="ask"), letter)

    outcome = yield from saga.run(forward)
    if outcome.done:
        word = "SIGNED"
    elif outcome.refused:
        word = "DECLINED"
    else:
        word = "EXPIRED" if outcome.reason == EXPIRED else "CANCELLED"
    letter = {"to": document.requester, "template": f"document_{word.lower()}"}
    yield from saga.must(TELL, letter)
    return (yield from saga.end(word, outcome.reason))


V1 = Version(
    "document_signing",
    "v1",
    document_signing,
    Document,
    steps=lambda _: STEPS,
    hears=frozenset({"signing"}),
)
