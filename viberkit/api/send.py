"""Posting one paid message, exactly once, and classifying the outcome.

Not public: :meth:`Client.send <viberkit.api.client.Client.send>` and campaigns store a send in the outbox of the
archive before they post it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from viberkit.api.recorder import Recorder, Recording
from viberkit.api.transport import Transport
from viberkit.errors import ArchiveWriteError, TransportError, UnknownOutcome, UnreadableRecord
from viberkit.models.content import read_object
from viberkit.models.keys import add_key
from viberkit.models.parsing import error_from_response, parse, read_accepted
from viberkit.models.phone import mask
from viberkit.models.records import Accepted, Response, SendOutcome


@dataclass(frozen=True, slots=True)
class SendAttempt:
    """The result of one POST.

    Attributes
    ----------
    outcome : SendOutcome
        Outcome to store in the outbox.
    response : Response or None
        Response of the server, if one arrived.
    accepted : Accepted or None
        What the server accepted, if it did.
    error : Exception or None
        The error for the caller otherwise.
    """

    outcome: SendOutcome
    response: Response | None = None
    accepted: Accepted | None = None
    error: Exception | None = None


def build_request(service_id: str | None, to: str, rate_type: str, callback_url: str | None = None) -> dict[str, Any]:
    """The parts of a request that sends of every kind share; the content and the context are added by the caller."""
    request: dict[str, Any] = {"to": to, "from": service_id, "channel": "viber", "rateType": rate_type}
    if callback_url:
        request["overrides"] = {"notificationCallbackUrl": callback_url}
    return request


def post(transport: Transport, path: str, request: Mapping[str, Any]) -> SendAttempt:
    """Post a send once, for a caller who has stored it as in flight.

    Parameters
    ----------
    transport : Transport
        Connection to the API.
    path : {"/messages", "/bulks"}
        Path of the call.
    request : mapping
        Body of the call.

    Returns
    -------
    SendAttempt
        *accepted* and *rejected* if the response is clear; *queued* if the message was certainly not sent (no byte
        left this process, or 429), so that it may be sent again; *unknown* in every other case.
    """
    try:
        response = transport.request("POST", path, json=dict(request))
    except TransportError as error:
        if not error.sent:
            return SendAttempt(SendOutcome("queued", str(error)), error=error.with_traceback(None))
        return _unknown(request, str(error))
    if response.ok:
        try:
            accepted = read_accepted(parse(response.body), bulk=path == "/bulks")
        except UnreadableRecord as error:
            return _unknown(request, f"the response ({response.status}) could not be read: {error}", response)
        outcome = SendOutcome("accepted", message_id=accepted.message_id, http_status=response.status)
        return SendAttempt(outcome, response, accepted)
    if not 400 <= response.status < 500 or response.status == 408:  # 408 comes from a gateway, not from the API
        return _unknown(request, f"the server answered {response.status}", response)
    refusal = error_from_response(response, f"POST {path}")
    state = "queued" if response.status == 429 else "rejected"
    return SendAttempt(SendOutcome(state, str(refusal), http_status=response.status), response, error=refusal)


def interrupted_attempt(request: Mapping[str, Any]) -> SendAttempt:
    """The result of a POST that was interrupted: unknown."""
    return _unknown(request, "the request was interrupted")


def _unknown(request: Mapping[str, Any], reason: str, response: Response | None = None) -> SendAttempt:
    status, bulk_id = (response.status, _bulk_id(response)) if response is not None else (None, None)
    reason += f" (bulk {bulk_id})" if bulk_id else ""
    details: dict[str, Any] = {"context": request.get("context"), "status": status, "bulk_id": bulk_id}
    error = UnknownOutcome(reason, to=mask(str(request["to"])), **details)
    return SendAttempt(SendOutcome("unknown", reason, bulk_id, status), response, error=error)


def _bulk_id(response: Response) -> str | None:
    """The id of a bulk whose response has no readable ids of its messages, which the API allows."""
    with suppress(UnreadableRecord):
        return read_accepted({"messageId": read_object(parse(response.body)).get("bulkId")}).message_id
    return None


def post_recorded(
    transport: Transport, archive: Recording | None, path: str, request: dict[str, Any], *, deduplicate: bool = False
) -> Accepted:
    """Post a send once, stored in the outbox first if there is an archive; raise the error of the attempt."""
    if archive is None:
        attempt = post(transport, path, request)
    else:
        recorder, context = archive.recorder, request.get("context")
        key = recorder.begin(request, context, deduplicate=deduplicate)
        if isinstance(key, Accepted):
            return key
        if "messages" not in request:  # the API documents no context of a bulk
            request["context"] = add_key(key, context)
        attempt = interrupted_attempt(request)
        try:
            attempt = post(transport, path, request)
        finally:
            attempt = _settle(recorder, key, attempt, request)
    if attempt.accepted is None:
        raise attempt.error or AssertionError
    return attempt.accepted


def _settle(recorder: Recorder, key: str, attempt: SendAttempt, request: Mapping[str, Any]) -> SendAttempt:
    """Store the outcome of a send; if that fails, the error holds the id, which no call of the API returns again.

    Returns the attempt, unknown if its id is that of another send.
    """
    reason = ""
    try:
        outcome = recorder.settle([(key, attempt.outcome, request, attempt.response)])[key]
        if outcome.state != attempt.outcome.state:
            return _unknown(request, outcome.reason, attempt.response)
    except Exception as error:  # noqa: BLE001 - whatever it is, the id must reach the caller
        reason = str(error)
    if reason and attempt.outcome.message_id is not None:  # otherwise the row stays in flight, and is not repeated
        raise ArchiveWriteError(attempt.outcome.message_id, reason)
    return attempt
