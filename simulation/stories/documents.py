"""Documents: signed over a month in any order, declined, expired, withdrawn."""

from __future__ import annotations

from collections.abc import Mapping

from simulation.schedule import DAY
from simulation.stories.plot import Plot, Story


def _document(plot: Plot, signers: int) -> None:
    names = [f"s-{number}" for number in range(1, signers + 1)]
    plot.start("/documents", {"title": "lease", "requester": "c-17", "signers": names})


def _signed(plot: Plot, after: float, signer: int, word: str = "signed", again: str = "") -> None:
    body = {
        "source": "signing",
        "type": f"signing.{word}",
        "reference": f"{plot.id}/send",
        "data": {"signer": f"s-{signer}"},
        "event_id": f"{plot.id}-s-{signer}{again}",
    }
    plot.call(after, "/callbacks", body, to="witness")


def _document_signed(plot: Plot) -> None:
    signers = plot.rng.randint(1, 4)
    _document(plot, signers)
    for signer in range(1, signers + 1):
        at = plot.between(60, 29 * DAY)
        _signed(plot, at, signer)
        if plot.rng.random() < 0.3:
            _signed(plot, at + plot.between(0, DAY), signer, again="-again")


def _document_declined(plot: Plot) -> None:
    _document(plot, 2)
    at = plot.between(60, 20 * DAY)
    _signed(plot, at, 1)
    _signed(plot, at + plot.between(0, 5 * DAY), 2, "declined")


def _document_expired(plot: Plot) -> None:
    _document(plot, 2)
    _signed(plot, plot.between(60, 29 * DAY), 1)
    plot.moments.append(plot.begins + 30 * DAY)


def _document_cancelled(plot: Plot) -> None:
    _document(plot, 1)
    plot.cancel(plot.between(0, 29 * DAY))


NOT_SENT = frozenset({"CANCELLED"})

STORIES: Mapping[str, Story] = {
    "document-signed": Story(
        "document_signing", frozenset({"SIGNED"}), _document_signed, NOT_SENT, weight=2
    ),
    "document-declined": Story(
        "document_signing", frozenset({"DECLINED"}), _document_declined, NOT_SENT
    ),
    "document-expired": Story(
        "document_signing", frozenset({"EXPIRED"}), _document_expired, NOT_SENT
    ),
    "document-cancelled": Story("document_signing", frozenset({"CANCELLED"}), _document_cancelled),
}
