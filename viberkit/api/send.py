"""One POST of a paid message, and what became of it: a value, never an exception that the far end causes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from viberkit.api.account import as_error
from viberkit.api.transport import Answer, Fault, Transport
from viberkit.errors import UnknownOutcome, UnreadableRecord
from viberkit.models import parsing as wire
from viberkit.models.phone import mask
from viberkit.models.records import Accepted, Bulk, Outcome

__all__ = ["Attempt", "attempt", "interrupted"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a POST: the outcome for the outbox, and either what was accepted or the error for the caller."""

    outcome: Outcome
    answer: Answer | None = None
    accepted: Accepted | Bulk | None = None
    error: Exception | None = None


def attempt(transport: Transport, path: str, request: Mapping[str, Any]) -> Attempt:
    """Post a send once. Accepted and refused are what the server clearly says; what certainly did not reach it (no byte
    left, 429) may be sent again; everything else is unknown."""
    try:
        answer = transport.ask("POST", path, json=dict(request))
    except Fault as fault:
        if not fault.sent:
            return Attempt(Outcome("queued", str(fault)), error=fault.with_traceback(None))
        return _unknown(request, str(fault))
    if answer.ok:
        try:
            told = wire.parse(answer.body)
            accepted = wire.read_bulk(told) if path == "/bulks" else wire.read_accepted(told)
        except UnreadableRecord as fault:
            return _unknown(request, f"the answer ({answer.status}) could not be read: {fault}", answer)
        sent_id = accepted.bulk_id if isinstance(accepted, Bulk) else accepted.message_id
        return Attempt(Outcome("accepted", message_id=sent_id, http_status=answer.status), answer, accepted)
    if not 400 <= answer.status < 500 or answer.status == 408:  # a 408 is a gateway's word, not the API's
        return _unknown(request, f"the server answered {answer.status}", answer)
    error = as_error(answer, f"POST {path}")
    state = "queued" if answer.status == 429 else "rejected"
    return Attempt(Outcome(state, str(error), http_status=answer.status), answer, error=error)


def interrupted(request: Mapping[str, Any]) -> Attempt:
    """What is known of a send that was broken off."""
    return _unknown(request, "it was interrupted while the server was asked")


def _unknown(request: Mapping[str, Any], reason: str, answer: Answer | None = None) -> Attempt:
    status = answer.status if answer is not None else None
    error = UnknownOutcome(reason, to=mask(str(request["to"])), context=request.get("context"), status=status)
    return Attempt(Outcome("unknown", reason, http_status=status), answer, error=error)
