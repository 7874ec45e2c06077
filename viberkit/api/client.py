"""Every call of the Conversations API, from Python objects to Python objects."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import quote as percent

from viberkit.api.account import AccountCalls, as_error
from viberkit.api.recorder import Recording
from viberkit.api.send import SendAttempt, attempt, interrupted_attempt
from viberkit.api.settings import BASE_URL, checked_key, setting
from viberkit.api.transport import Transport
from viberkit.errors import (
    ArchiveWriteError,
    Violation,
    raise_violations,
)
from viberkit.models import parsing as wire
from viberkit.models import validation as rules
from viberkit.models.content import Content, kind, to_wire
from viberkit.models.keys import KEY_LENGTH, add_key
from viberkit.models.phone import normalize
from viberkit.models.records import (
    AcceptedBulk,
    AcceptedMessage,
    Event,
    PreviousSend,
    Response,
    SentBulk,
    SentMessage,
    Status,
    StoredMessage,
)

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
    ``retry_for_s`` after the first. GET and PUT are retried on 429, 502, 503, 504 and broken connections; a
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
        archive: Recording | None = None,
        timeout_s: tuple[float, float] = (10.0, 30.0),
        retry_for_s: float = 60.0,
    ) -> None:
        key = checked_key(setting(api_key, "TYNTEC_API_KEY"))
        self.sender = setting(service_id, "VIBER_SERVICE_ID")
        self.base_url = setting(base_url, "VIBERKIT_BASE_URL") or BASE_URL
        self.archive = archive
        self._transport = Transport(self.base_url, key, timeout_s=timeout_s, retry_for_s=retry_for_s)
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

    def with_archive(self, archive: Recording) -> Client:
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
        deduplicate: bool = False,
    ) -> SentMessage:
        """Send one message; it is checked first, and nothing that breaks a rule goes out.

        ``context`` (at most 125 characters) comes back on callbacks; ``callback_url`` is where this
        message's status callbacks go. With an archive the send is first a row of its outbox, durably, and its key goes
        out as the head of the context (which leaves 98 characters); with ``deduplicate``, content that was accepted before for
        this recipient is not sent again: the earlier message is given.

        Raises :class:`~viberkit.errors.InvalidRequest` with every violation, :class:`~viberkit.errors.ApiError` when
        the server refuses, and :class:`~viberkit.errors.UnknownOutcome` when it cannot be known whether the message
        went out, now or the last time: then it must not be sent again blindly, and no retry does.
        """
        found = rules.violations(content, rate_type)
        request, more = self._request(to, rate_type, context, callback_url)
        if deduplicate and self.archive is None:
            more.append(
                Violation("deduplicate", "True", "needs an archive to look back into", "pass Client(archive=…)")
            )
        raise_violations(found + more)
        _caution(content)
        request["content"] = to_wire(content)
        sent_id, accepted = self._post("/messages", request, context, deduplicate=deduplicate)
        return SentMessage(sent_id, request["to"], rate_type, content, accepted.accepted_at, context)

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
        raise_violations(found + more)
        for content in contents:
            _caution(content)
        request["messages"] = [to_wire(content) for content in contents]
        bulk_id, accepted = self._post("/bulks", request, None)
        assert isinstance(accepted, AcceptedBulk)  # noqa: S101 - that is what /bulks answers with
        ids, at = accepted.message_ids, accepted.accepted_at
        return SentBulk(bulk_id, ids, request["to"], rate_type, tuple(contents), at)

    def _request(
        self, to: str, rate_type: str, context: str | None, callback_url: str | None
    ) -> tuple[dict[str, Any], list[Violation]]:
        """What a single and a bulk request share, and what is wrong with it."""
        found = []
        number = normalize(to)
        if isinstance(number, Violation):
            found.append(number)
        found += self.sender_rule()
        if rate_type not in rules.RATE_TYPES:
            found += rules.choice_rule("rate_type", rate_type, rules.RATE_TYPES)
        request: dict[str, Any] = {
            "to": number,
            "from": self.sender,
            "channel": "viber",
            "rateType": rate_type,
        }
        if context is not None:
            found += rules.text_rule("context", context, 125 if self.archive is None else 124 - KEY_LENGTH)
            request["context"] = context
        if callback_url is not None:
            found += rules.callback_url_rule("callback_url", callback_url)
            request["overrides"] = {"notificationCallbackUrl": callback_url}
        return request, found

    def _post(
        self, path: str, request: dict[str, Any], context: str | None, *, deduplicate: bool = False
    ) -> tuple[str, AcceptedMessage | AcceptedBulk]:
        """A send, posted once, with a row in the archive's outbox before it; gives its id and what was accepted."""
        if self.archive is None:
            tried = attempt(self._transport, path, request)
        else:
            key = self.archive.recorder.begin(request, context, deduplicate=deduplicate)
            if isinstance(key, PreviousSend):
                return key.message_id, AcceptedMessage(key.message_id, key.sent_at)
            request["context"] = add_key(key, context)
            tried = interrupted_attempt(request)
            try:
                tried = attempt(self._transport, path, request)
            finally:
                self._settle(self.archive, key, tried, request)
        if tried.error is not None or tried.accepted is None or tried.outcome.message_id is None:
            raise tried.error or AssertionError
        return tried.outcome.message_id, tried.accepted

    def sender_rule(self) -> list[Violation]:
        """What is wrong with the service id, without which nothing can be sent."""
        if self.sender and self.sender.isascii() and self.sender.isprintable():
            return []
        rule = "holds something other than plain letters" if self.sender else "is missing"
        return [Violation("service_id", "", rule, "pass Client(service_id=…) or set VIBER_SERVICE_ID")]

    def attempt(self, path: str, request: Mapping[str, Any]) -> SendAttempt:
        """Post a send once, past the outbox: for those who have a row there in flight."""
        return attempt(self._transport, path, request)

    def request_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The request of a row of the outbox, from this client's service id."""
        request = {"to": row["to"], "from": self.sender, "channel": "viber", "rateType": row["rate_type"]}
        if row["callback_url"]:
            request["overrides"] = {"notificationCallbackUrl": row["callback_url"]}
        return {**request, "content": json.loads(row["content"])}

    @staticmethod
    def _settle(archive: Recording, key: str, tried: SendAttempt, request: Mapping[str, Any]) -> None:
        """Keep what became of a send; if that fails, its id is in the error: no call of the API would tell it again."""
        reason = ""
        try:
            archive.recorder.settle([(key, tried.outcome, request, tried.answer)])
        except Exception as fault:  # noqa: BLE001 - whatever it was, the id must reach the caller
            reason = str(fault)
        if reason and tried.outcome.message_id is not None:  # else the row stays in flight, and nothing repeats it
            raise ArchiveWriteError(tried.outcome.message_id, reason)

    # --- asking ----------------------------------------------------------------------------------------

    def status(self, message_id: str) -> Status:
        """Where a message stands. Raises :class:`~viberkit.errors.NotFound` for an unknown or expired id."""
        return self._read(wire.read_status, self.fetch("status", message_id))

    def events(self, message_id: str) -> tuple[Event, ...]:
        """The message's history in any dialect, oldest first as the server tells it (kept for 90 days).

        Events that cannot be read are left out with a warning. Raises as :meth:`status`.
        """
        reading = self._read(wire.read_record, self.fetch("events", message_id))
        for item in reading.skipped:
            warnings.warn(f"{message_id}: {item.reason}; this event was left out", stacklevel=2)
        return reading.events

    def message(self, message_id: str) -> StoredMessage:
        """The message as the server keeps it, until 48 hours after its final status.

        Raises as :meth:`status`, and :class:`~viberkit.errors.NotSupported` where a server no longer has the call.
        """
        return self._read(wire.read_message, self.fetch("message", message_id))

    def fetch(self, what: str, message_id: str) -> Response:
        """The raw answer about one message: ``what`` is "status", "events" or "message".

        Where reference and guide disagree about the path, the reference's is asked first; a 404 that does
        not say that the message is unknown makes the client try the guide's, and remember which one worked.
        With an archive, the answer is kept in it. Raises as :meth:`status`.
        """
        answer = self.look(what, message_id)
        if self.archive is not None:
            self.archive.recorder.record(what, [(message_id, answer)])
        if not answer.ok:
            raise as_error(answer, f"GET {what} of {message_id}")
        return answer

    def look(self, what: str, message_id: str) -> Response:
        """As :meth:`fetch`, but gives every answer, refusals too, and keeps nothing."""
        if not isinstance(message_id, str) or not message_id:
            raise_violations(
                [Violation("message_id", "", f"is a {type(message_id).__name__}, not an id", "pass sent.message_id")]
            )
        name = percent(message_id, safe="")
        paths = _PATHS[what]
        known = self._path_of.get(what)
        first: Response | None = None
        for path in (known,) if known else paths:
            answer = self._transport.ask("GET", path.format(id=name))
            if answer.status != 404 or wire.is_unknown_message(answer.body):
                if len(paths) > 1:
                    self._path_of[what] = path
                return answer
            first = first or answer
        assert first is not None  # noqa: S101 - every call has a path
        return first


def _caution(content: Content) -> None:
    for one in rules.cautions(content):
        warnings.warn(f"{kind(content)}: {one}", stacklevel=3)
