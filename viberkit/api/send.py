"""One POST of a paid message, and what became of it: a value, never an exception that the far end causes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from viberkit.api.account import as_error
from viberkit.api.transport import Transport
from viberkit.errors import TransportError, UnknownOutcome, UnreadableRecord
from viberkit.models import parsing as wire
from viberkit.models.phone import mask
from viberkit.models.records import AcceptedBulk, AcceptedMessage, Response, SendOutcome

__all__ = ["SendAttempt", "attempt", "interrupted_attempt"]


@dataclass(frozen=True, slots=True)
class SendAttempt:
    """What became of a POST: the outcome for the outbox, and either what was accepted or the error for the caller."""

    outcome: SendOutcome
    answer: Response | None = None
    accepted: AcceptedMessage | AcceptedBulk | None = None
    error: Exception | None = None


def attempt(transport: Transport, path: str, request: Mapping[str, Any]) -> SendAttempt:
    """Post a send once. Accepted and refused are what the server clearly says; what certainly did not reach it (no byte
    left, 429) may be sent again; everything else is unknown."""
    try:
        answer = transport.ask("POST", path, json=dict(request))
    except TransportError as fault:
        if not fault.sent:
            return SendAttempt(SendOutcome("queued", str(fault)), error=fault.with_traceback(None))
        return _unknown(request, str(fault))
    if answer.ok:
        try:
            told = wire.parse(answer.body)
            accepted = wire.read_bulk(told) if path == "/bulks" else wire.read_accepted(told)
        except UnreadableRecord as fault:
            return _unknown(request, f"the answer ({answer.status}) could not be read: {fault}", answer)
        sent_id = accepted.bulk_id if isinstance(accepted, AcceptedBulk) else accepted.message_id
        return SendAttempt(SendOutcome("accepted", message_id=sent_id, http_status=answer.status), answer, accepted)
    if not 400 <= answer.status < 500 or answer.status == 408:  # a 408 is a gateway's word, not the API's
        return _unknown(request, f"the server answered {answer.status}", answer)
    error = as_error(answer, f"POST {path}")
    state = "queued" if answer.status == 429 else "rejected"
    return SendAttempt(SendOutcome(state, str(error), http_status=answer.status), answer, error=error)


def interrupted_attempt(request: Mapping[str, Any]) -> SendAttempt:
    """What is known of a send that was broken off."""
    return _unknown(request, "it was interrupted while the server was asked")


def _unknown(request: Mapping[str, Any], reason: str, answer: Response | None = None) -> SendAttempt:
    status = answer.status if answer is not None else None
    error = UnknownOutcome(reason, to=mask(str(request["to"])), context=request.get("context"), status=status)
    return SendAttempt(SendOutcome("unknown", reason, http_status=status), answer, error=error)
