"""Every call of the Conversations API, from Python objects to Python objects."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote as percent

from viberkit import rules, wire
from viberkit.client_account import AccountCalls, as_error, raise_if
from viberkit.content import Content, kind, to_wire
from viberkit.errors import (
    NotKept,
    UnknownOutcome,
    UnreadableRecord,
    Violation,
)
from viberkit.phone import mask, normalize
from viberkit.problems import says_unknown
from viberkit.records import Event, SentBulk, SentMessage, Status, StoredMessage
from viberkit.settings import BASE_URL, checked_key, setting
from viberkit.transport import Answer, Fault, Transport

if TYPE_CHECKING:
    from viberkit.archive import Archive

__all__ = ["Client"]

#: Where the reference and the guide disagree: the reference's path first.
_PATHS = {
    "message": ("/messages/{id}",),
    "status": ("/messages/{id}/status", "/{id}/status"),
    "events": ("/messages/{id}/events", "/{id}/events"),
}


class Client(AccountCalls):
    """A client of tyntec's Conversations API v3 for Viber.

    ``api_key`` and ``service_id`` (what messages come from) are taken from the arguments, else from the
    environment (``TYNTEC_API_KEY``, ``VIBER_SERVICE_ID``), else from a ``.env`` file here or above;
    ``base_url`` likewise (``VIBERKIT_BASE_URL``). With an ``archive``, every answer is kept in it.

    ``timeout_s`` is (to connect, between two bytes of an answer); no attempt of a call begins later than
    ``patience_s`` after the first. GET and PUT are retried on 429, 502, 503, 504 and broken connections; a
    send only where it certainly was not accepted (no byte left, or 429): no retry sends a message twice.

    Safe to use from many threads. Raises :class:`~viberkit.errors.ConfigurationError` when no key is found.

    >>> with vk.Sandbox(seed=1) as sandbox, sandbox.client() as client:
    ...     sent = client.send("+491701234567", vk.Text("Your parcel is here"), rate_type="transaction")
    ...     client.status(sent.message_id).state
    'accepted'
    """

    base_url, sender = "", None

    def __init__(
        self,
        api_key: str | None = None,
        service_id: str | None = None,
        *,
        base_url: str | None = None,
        archive: Archive | None = None,
        timeout_s: tuple[float, float] = (10.0, 30.0),
        patience_s: float = 60.0,
    ) -> None:
        key = checked_key(setting(api_key, "TYNTEC_API_KEY"))
        self.sender = setting(service_id, "VIBER_SERVICE_ID")
        self.base_url = setting(base_url, "VIBERKIT_BASE_URL") or BASE_URL
        self.archive = archive
        self._transport = Transport(self.base_url, key, timeout_s=timeout_s, patience_s=patience_s)
        self._path_of: dict[str, str] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Client({self.base_url!r}, service_id={self.sender!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client holds an API key and is not pickled; make one in each process")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept-alive connections; the client may be used again."""
        self._transport.close()

    def keeping(self, archive: Archive) -> Client:
        """The same client, over the same connections, keeping every answer in an archive."""
        other = object.__new__(Client)
        other.__dict__.update(self.__dict__, archive=archive)
        return other

    # --- sending -------------------------------------------------------------------------------------

    def send(
        self,
        to: str,
        content: Content,
        *,
        rate_type: str,
        context: str | None = None,
        callback_url: str | None = None,
    ) -> SentMessage:
        """Send one message; it is checked first, and nothing that breaks a rule goes out.

        ``context`` (at most 125 characters) comes back on callbacks; ``callback_url`` is where this
        message's status callbacks go. Raises :class:`~viberkit.errors.InvalidRequest` with every violation,
        :class:`~viberkit.errors.ApiError` when the server refuses, and
        :class:`~viberkit.errors.UnknownOutcome` when it cannot be known whether the message went out:
        then it must not be sent again blindly.
        """
        found = rules.violations(content, rate_type)
        request, more = self._request(to, rate_type, context, callback_url)
        raise_if(found + more)
        _caution(content)
        request["content"] = to_wire(content)
        answer = self._post("/messages", request)
        try:
            accepted = wire.read_accepted(wire.parse(answer.body))
        except UnreadableRecord as fault:
            raise _unknown(request, f"the answer ({answer.status}) could not be read: {fault}", answer.status) from None
        sent = SentMessage(accepted.message_id, request["to"], rate_type, content, accepted.accepted_at, context)
        self._keep_sent(sent.message_id, request, answer)
        return sent

    def bulk(self, to: str, contents: Sequence[Content], *, rate_type: str) -> SentBulk:
        """Send 2 to 20 contents to one recipient, in order, all of one rate type. Raises as :meth:`send`."""
        found = []
        if not 2 <= len(contents) <= 20:
            found.append(Violation("contents", "", f"has {len(contents)} entries, not 2 to 20", "split or join them"))
        for place, content in enumerate(contents):
            for one in rules.violations(content, rate_type):
                where = one.field if one.field == "rate_type" else f"contents[{place}].{one.field}"
                found.append(Violation(where, one.value, one.rule, one.remedy))
        request, more = self._request(to, rate_type, None, None)
        raise_if(found + more)
        for content in contents:
            _caution(content)
        request["messages"] = [to_wire(content) for content in contents]
        answer = self._post("/bulks", request)
        try:
            accepted = wire.read_bulk(wire.parse(answer.body))
        except UnreadableRecord as fault:
            raise _unknown(request, f"the answer ({answer.status}) could not be read: {fault}", answer.status) from None
        ids = accepted.message_ids
        self._keep_sent(accepted.bulk_id, request, answer)
        return SentBulk(accepted.bulk_id, ids, request["to"], rate_type, tuple(contents), accepted.accepted_at)

    def _request(
        self, to: str, rate_type: str, context: str | None, callback_url: str | None
    ) -> tuple[dict[str, Any], list[Violation]]:
        """What a single and a bulk request share, and what is wrong with it."""
        found = []
        number = normalize(to)
        if isinstance(number, Violation):
            found.append(number)
        if not self.sender or not (self.sender.isascii() and self.sender.isprintable()):
            rule = "holds something other than plain letters" if self.sender else "is missing"
            found.append(Violation("service_id", "", rule, "pass Client(service_id=…) or set VIBER_SERVICE_ID"))
        if rate_type not in rules.RATE_TYPES:
            found += rules.choice_rule("rate_type", rate_type, rules.RATE_TYPES)
        request: dict[str, Any] = {
            "to": number,
            "from": self.sender,
            "channel": "viber",
            "rateType": rate_type,
        }
        if context is not None:
            found += rules.text_rule("context", context, 125)
            request["context"] = context
        if callback_url is not None:
            found += rules.callback_url_rule("callback_url", callback_url)
            request["overrides"] = {"notificationCallbackUrl": callback_url}
        return request, found

    def _post(self, path: str, request: dict[str, Any]) -> Answer:
        """A send, asked once. A success or a clear refusal; everything else is an unknown outcome."""
        fault: Fault | None = None
        try:
            answer = self._transport.ask("POST", path, json=request)
        except Fault as told:
            fault = told
        if fault is not None:
            if not fault.sent:
                raise fault
            raise _unknown(request, str(fault))
        if answer.ok:
            return answer
        if 400 <= answer.status < 500:
            raise as_error(answer, f"POST {path}")
        raise _unknown(request, f"the server answered {answer.status}", answer.status)

    def _keep_sent(self, sent_id: str, request: dict[str, Any], answer: Answer) -> None:
        """Keep what was sent; if that fails, its id is in the error: no call of the API would tell it again."""
        if self.archive is None:
            return
        reason = ""
        try:
            self.archive.keep_sent(sent_id, request, answer)
        except Exception as fault:  # noqa: BLE001 - whatever it was, the id must reach the caller
            reason = str(fault)
        if reason:
            raise NotKept(sent_id, reason)

    # --- asking ----------------------------------------------------------------------------------------

    def status(self, message_id: str) -> Status:
        """Where a message stands. Raises :class:`~viberkit.errors.NotFound` for an unknown or expired id."""
        return self._read(wire.read_status, self.fetch("status", message_id))

    def events(self, message_id: str) -> tuple[Event, ...]:
        """The message's history in any dialect, oldest first as the server tells it (kept for 90 days).

        Events that cannot be read are left out with a warning. Raises as :meth:`status`.
        """
        reading = self._read(wire.read_record, self.fetch("events", message_id))
        for aside in reading.aside:
            warnings.warn(f"{message_id}: {aside.reason}; this event was left out", stacklevel=2)
        return reading.events

    def message(self, message_id: str) -> StoredMessage:
        """The message as the server keeps it, until 48 hours after its final status.

        Raises as :meth:`status`, and :class:`~viberkit.errors.NotOffered` where a server no longer has the call.
        """
        return self._read(wire.read_message, self.fetch("message", message_id))

    def fetch(self, what: str, message_id: str) -> Answer:
        """The raw answer about one message: ``what`` is "status", "events" or "message".

        Where reference and guide disagree about the path, the reference's is asked first; a 404 that does
        not say that the message is unknown makes the client try the guide's, and remember which one worked.
        With an archive, the answer is kept in it. Raises as :meth:`status`.
        """
        answer = self.look(what, message_id)
        if self.archive is not None:
            self.archive.keep_answers(what, [(message_id, answer)])
        if not answer.ok:
            raise as_error(answer, f"GET {what} of {message_id}")
        return answer

    def look(self, what: str, message_id: str) -> Answer:
        """As :meth:`fetch`, but gives every answer, refusals too, and keeps nothing."""
        if not isinstance(message_id, str) or not message_id:
            raise_if(
                [Violation("message_id", "", f"is a {type(message_id).__name__}, not an id", "pass sent.message_id")]
            )
        name = percent(message_id, safe="")
        paths = _PATHS[what]
        known = self._path_of.get(what)
        first: Answer | None = None
        for path in (known,) if known else paths:
            answer = self._transport.ask("GET", path.format(id=name))
            if answer.status != 404 or says_unknown(answer.body):
                if len(paths) > 1:
                    self._path_of[what] = path
                return answer
            first = first or answer
        assert first is not None  # noqa: S101 - every call has a path
        return first


def _unknown(request: Mapping[str, Any], reason: str, status: int | None = None) -> UnknownOutcome:
    return UnknownOutcome(reason, to=mask(str(request["to"])), context=request.get("context"), status=status)


def _caution(content: Content) -> None:
    for one in rules.cautions(content):
        warnings.warn(f"{kind(content)}: {one}", stacklevel=3)
