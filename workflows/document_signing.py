"""A document: sent to everybody who has to sign, reminded weekly, voided if one declines.

The signers answer in any order, and may answer twice or late; each answer is an event of the same
wait, so the instance needs no memory beyond who is still missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from workflows.definition import Late, Workflow
from workflows.inputs import DAY, Input, Phrase, Timeout, Word
from workflows.instance import Abort, End, Yields
from workflows.messages import Pivot
from workflows.saga import Saga
from workflows.steps import Step, Undo

SEND = Step("send", "signing.send", Undo("void", "signing.void"))
REMIND = Step("remind", "notifier.send", on_failure="ask")
TELL = Step("notify", "notifier.send")

SIGNED, DECLINED = "signing.signed", "signing.declined"
EXPIRED = "the signing deadline passed"
DONE = {"SIGNED"}


def _distinct(signers: list[str]) -> list[str]:
    if len(set(signers)) < len(signers):
        raise ValueError("a signer is named twice")
    return signers


Signers = Annotated[
    list[Word],
    Field(min_length=1, max_length=100, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


class Document(Input):
    """A document to be signed by everybody named. Durations are seconds."""

    title: Phrase
    requester: Word
    signers: Signers
    signing_timeout: Timeout = 30 * DAY
    reminder_interval: Timeout = 7 * DAY


def document_signing(saga: Saga, document: Document) -> Yields[End]:
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
            name = f"{REMIND.name}/{number}/{document.signers.index(signer) + 1}"
            letter = {"to": signer, "template": "please_sign"}
            yield from saga.step(replace(REMIND, name=name), letter)

    outcome = yield from saga.run(forward)
    undone = "EXPIRED" if outcome.reason == EXPIRED else "CANCELLED"
    end = outcome.as_end("SIGNED", undone, refused="DECLINED")
    letter = {"to": document.requester, "template": f"document_{end.outcome.lower()}"}
    yield from saga.must(TELL, letter)
    return end


def _objection(input: Mapping[str, Any], source: str, data: Mapping[str, Any]) -> str | None:
    return None if data.get("signer") in input["signers"] else "it was not asked of this signer"


V1 = Workflow(
    kind="document_signing",
    version="v1",
    path="/documents",
    input=Document,
    body=document_signing,
    steps=(SEND,),
    others=(REMIND, TELL),
    done=DONE,
    undone={"DECLINED", "EXPIRED", "CANCELLED"},
    hears={"signing"},
    objection=_objection,
    late={DECLINED: Late(contradicts=DONE)},
)
